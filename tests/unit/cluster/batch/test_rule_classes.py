"""Rules that a job brings along name classes of its model, or the job does not start."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.batch.rule_classes import with_known_classes
from pipelines.domain import CountRule, Rule, ZoneEntryRule
from pipelines.errors import InputError

LABELS = ("person", "bicycle", "car", "traffic light")
SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def rule(name: str, *classes: str) -> ZoneEntryRule:
    return ZoneEntryRule(id=name, polygon=SQUARE, classes=classes)


def test_near_names_become_the_models() -> None:
    rules = (
        rule("door", "People", "person", "CARS"),
        rule("any"),
        CountRule(id="crowd", polygon=SQUARE, classes=("Traffic_Lights",), n=2, seconds=1),
    )
    known = with_known_classes(rules, LABELS, "yolov8n.pt")
    assert [one.classes for one in known] == [("person", "car"), (), ("traffic light",)]
    assert [one.model_copy(update={"classes": ()}) for one in known] == [
        one.model_copy(update={"classes": ()}) for one in rules
    ], "nothing else changes"


def test_an_unknown_class_is_named_with_its_rule_and_similar_ones() -> None:
    rules = (rule("door", "person"), rule("gate", "bicicle", "zeppelin"))
    with pytest.raises(InputError) as caught:
        with_known_classes(rules, LABELS, "yolov8n.pt")
    assert caught.value.message == (
        "the model yolov8n.pt lacks classes of the rules: "
        "rule 'gate' names 'bicicle' (did you mean bicycle?); rule 'gate' names 'zeppelin'."
    )
    assert "It knows: person, bicycle, car, traffic light." in caught.value.hint


def test_many_unknown_classes_give_a_short_error() -> None:
    rules = [rule(f"rule-{n}", f"zz-{n}") for n in range(100)]
    with pytest.raises(InputError, match="; and 95 more") as caught:
        with_known_classes(rules, [f"label {n}" for n in range(1_000)], "m.pt")
    assert len(str(caught.value)) < 1_000


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(LABELS), max_size=4), max_size=4))
def test_the_models_own_names_stay(classes: list[list[str]]) -> None:
    rules: list[Rule] = [rule(f"r-{n}", *names) for n, names in enumerate(classes)]
    known = with_known_classes(rules, LABELS, "m.pt")
    assert [list(one.classes) for one in known] == [list(dict.fromkeys(n)) for n in classes]
