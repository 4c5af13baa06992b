"""Ids are functions of what was seen, and unique."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from pipelines.domain import CameraKey
from pipelines.identity import alarm_id, track_key
from tests.unit.pipelines.properties import PROPERTY

slugs = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)
labels = st.text(min_size=1, max_size=12)
starts = st.integers(0, 4_000_000_000_000_000)
BOX = (100.0, 50.0, 200.0, 300.0)
SIZE = (1280, 720)

names = st.tuples(
    slugs,
    slugs,
    slugs,
    st.builds(track_key, starts, labels, st.just(BOX), st.just(SIZE)),
    st.integers(0, 99),
)


def named(name: tuple[str, str, str, str, int]) -> UUID:
    tenant, camera, rule, track, episode = name
    return alarm_id(CameraKey(tenant, camera), rule, track, episode)


@PROPERTY
@given(names, names)
def test_alarm_ids_differ_exactly_when_what_they_name_differs(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    assert (named(one) == named(other)) == (one == other)
    assert named(one) == named(one)
    assert named(one).version == 5


@PROPERTY
@given(starts, starts, labels, labels)
def test_track_keys_differ_with_the_millisecond_or_the_class(
    at: int, other_at: int, label: str, other_label: str
) -> None:
    same = (at // 1000, label) == (other_at // 1000, other_label)
    one, other = (
        track_key(at, label, BOX, SIZE),
        track_key(other_at, other_label, BOX, SIZE),
    )
    assert (one == other) == same


def test_track_keys_are_told_apart_by_place() -> None:
    here = track_key(5_000, "person", BOX, SIZE)
    there = track_key(5_000, "person", (900.0, 50.0, 1000.0, 300.0), SIZE)
    assert here != there
    # The same place at another resolution is the same place.
    half = (BOX[0] / 2, BOX[1] / 2, BOX[2] / 2, BOX[3] / 2)
    assert track_key(5_000, "person", half, (640, 360)) == here


def test_two_in_one_place_get_numbers() -> None:
    taken: set[str] = set()
    for _ in range(3):
        taken.add(track_key(5_000, "traffic light", BOX, SIZE, taken))
    assert sorted(taken) == [f"00000000005-16-{n}-traffic%20light" for n in range(3)]


def test_a_box_at_the_edge_has_a_place() -> None:
    assert track_key(0, "car", (1200.0, 700.0, 1280.0, 720.0), SIZE) == "00000000000-ff-0-car"


def test_ids_are_pinned() -> None:
    """Another process, another release: a change would raise every alarm of a recording anew."""
    track = track_key(5_000, "x", BOX, SIZE)
    assert track == "00000000005-16-0-x"
    assert (
        str(alarm_id(CameraKey("a", "b"), "c", track, 1)) == "8352e373-96a0-5b1e-9639-6bef72ff16f6"
    )
