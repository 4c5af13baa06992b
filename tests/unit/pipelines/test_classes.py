"""What people call things, and what the model calls them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.classes import ClassNames

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
    assert ClassNames(COCO).find(name) == label


def test_a_model_may_tell_case_and_number_apart() -> None:
    labels = ("Car", "car", "cars")
    known = ClassNames(labels)
    assert [known.find(name) for name in labels] == list(labels)
    assert known.find("CAR") == "Car", "the first of those that fit"


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, unique=True), st.data())
def test_a_models_own_names_stay(labels: list[str], data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(labels))
    assert ClassNames(labels).find(label) == label


@given(st.text(max_size=64), st.lists(st.text(max_size=20)))
def test_whatever_is_written_gives_a_class_of_the_model_or_none(
    name: str, labels: list[str]
) -> None:
    known = ClassNames(labels)
    assert known.find(name) in (None, *labels)
    assert set(known.similar(name)) <= set(labels)


def test_what_is_misspelt_is_suggested() -> None:
    assert ClassNames(COCO).similar("bycicle") == ["bicycle"]
    assert ClassNames(COCO).similar("xyz") == []


def test_a_name_is_compared_with_a_bounded_number_of_labels() -> None:
    labels = [f"class {n}" for n in range(5_000)]
    known = ClassNames([*labels, "zebra"])
    assert known.find("Zebras") == "zebra"
    assert known.similar("zebar") == []
