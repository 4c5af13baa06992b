"""What people call things, and what the model calls them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.classes import find_class, similar_classes

COCO = ("person", "bicycle", "car", "bus", "traffic light", "mouse", "scissors", "knife", "skis")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("person", "person"),
        ("Person", "person"),
        (" PERSON ", "person"),
        ("people", "person"),
        ("persons", "person"),
        ("Cars", "car"),
        ("buses", "bus"),
        ("bus", "bus"),
        ("bicycles", "bicycle"),
        ("traffic_light", "traffic light"),
        ("Traffic-Lights", "traffic light"),
        ("mice", "mouse"),
        ("knives", "knife"),
        ("scissors", "scissors"),
        ("skis", "skis"),
        ("ski", None),
        ("unicorn", None),
        ("", None),
        ("s", None),
        ("es", None),
    ],
)
def test_names_as_people_write_them(name: str, label: str | None) -> None:
    assert find_class(name, COCO) == label


def test_a_model_may_tell_case_and_number_apart() -> None:
    labels = ("Car", "car", "cars")
    assert [find_class(name, labels) for name in labels] == list(labels)
    assert find_class("CAR", labels) == "Car", "the first of those that fit"


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, unique=True), st.data())
def test_a_models_own_names_stay(labels: list[str], data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(labels))
    assert find_class(label, labels) == label


@given(st.text(max_size=64), st.lists(st.text(max_size=20)))
def test_whatever_is_written_gives_a_class_of_the_model_or_none(
    name: str, labels: list[str]
) -> None:
    assert find_class(name, labels) in (None, *labels)
    assert set(similar_classes(name, labels)) <= set(labels)


def test_what_is_misspelt_is_suggested() -> None:
    assert similar_classes("bycicle", COCO) == ["bicycle"]
    assert similar_classes("xyz", COCO) == []
