"""Who is hidden in a frame: whoever was seen in it, around it, or may have been."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.anonymisation import (
    EXTEND_US,
    AnonymisationPolicy,
    Hide,
    HideRule,
    HideStyle,
    Persons,
    Region,
    complete_until_us,
    persons_in,
    whole,
)
from pipelines.domain import PATH_CELL_US, PATH_SCALE, AlarmSource, TrackPath
from tests.factories import T0_US, make_alarm, make_analysed, make_path, make_sighting

S = 1_000_000
SIZE = (1_000, 500)
RULE = HideRule(Hide.PERSONS, HideStyle.MOSAIC, False, ("person",))
HEADS = HideRule(Hide.HEADS, HideStyle.MOSAIC, False, ("person",))
LATER_US = T0_US + 3_600 * S


def track(
    times_ms: list[int], box: tuple[int, ...] = (4_000, 4_000, 4_500, 6_000), **fields: Any
) -> TrackPath:
    """A track that stands still, seen at some milliseconds after T0."""
    points = tuple((at_ms - times_ms[0], *box) for at_ms in times_ms)
    start_us = T0_US + times_ms[0] * 1_000
    end_us = T0_US + times_ms[-1] * 1_000
    return make_path(start_us=start_us, end_us=end_us, points=points, **fields)


def known(*paths: TrackPath, rule: HideRule = RULE, seconds: float = 10, **more: Any) -> Persons:
    now_us = more.pop("now_us", LATER_US)
    span = (T0_US, T0_US + round(seconds * S))
    return persons_in(rule, paths, **more, span=span, now_us=now_us)


def car(until_ms: int = 12_000) -> TrackPath:
    """Something that is seen five times a second, so that every frame is known."""
    return track(list(range(-2_000, until_ms, 200)), (0, 0, 500, 500), track="car", label="car")


def covers(regions: list[Region], box: tuple[float, ...]) -> bool:
    """Whether one region holds a box (pixels)."""
    x1, y1, x2, y2 = box
    return any(r.x1 <= x1 and r.y1 <= y1 and r.x2 >= x2 and r.y2 >= y2 for r in regions)


# ------------------------------------------------------------ policy


def test_a_policy_hides_nobody_by_default() -> None:
    assert AnonymisationPolicy().rule("gate") is None
    assert not AnonymisationPolicy().hides


def test_a_camera_may_differ() -> None:
    policy = AnonymisationPolicy(hide=Hide.PERSONS, cameras={"gate": Hide.OFF, "yard": Hide.HEADS})
    yard, other = policy.rule("yard"), policy.rule("other")
    assert policy.rule("gate") is None
    assert yard is not None
    assert yard.hide is Hide.HEADS
    assert other is not None
    assert other.hide is Hide.PERSONS


@pytest.mark.parametrize(
    ("cameras", "hide"),
    [
        ({}, None),
        ({"gate": Hide.OFF}, None),
        ({"gate": Hide.HEADS}, Hide.HEADS),
        ({"gate": Hide.HEADS, "yard": Hide.PERSONS}, Hide.PERSONS),
    ],
)
def test_of_an_unknown_camera_the_strictest_counts(
    cameras: dict[str, Hide], hide: Hide | None
) -> None:
    rule = AnonymisationPolicy(cameras=cameras).rule(None)
    assert (rule.hide if rule is not None else None) == hide


def test_every_part_of_a_rule_is_in_its_digest() -> None:
    rules = [
        RULE,
        HEADS,
        HideRule(Hide.PERSONS, HideStyle.FILL, False, ("person",)),
        HideRule(Hide.PERSONS, HideStyle.MOSAIC, True, ("person",)),
        HideRule(Hide.PERSONS, HideStyle.MOSAIC, False, ("person", "rider")),
    ]
    assert len({rule.digest for rule in rules}) == len(rules)


# ------------------------------------------------------------ what is known


def test_a_frame_near_which_nothing_was_tracked_is_hidden_as_a_whole() -> None:
    persons = known(track([0, 200, 400, 4_000, 4_200], track="car", label="car"))
    assert persons.regions(T0_US + 300_000, SIZE) == []
    assert persons.regions(T0_US + 2_000_000, SIZE) == [whole(SIZE)]
    # The analysis may have ended right after the last frame.
    assert persons.regions(T0_US + 4_300_000, SIZE) == [whole(SIZE)]
    assert whole(SIZE)[:4] == (0, 0, 1_000, 500)


def test_without_any_path_everything_is_hidden() -> None:
    assert known().regions(T0_US, SIZE) == [whole(SIZE)]


def test_an_empty_scene_that_was_analysed_is_shown() -> None:
    cells = [make_analysed(n) for n in (0, 1, 3)]
    persons = known(cells=cells, seconds=20)
    assert persons.regions(T0_US + 3 * S, SIZE) == []
    assert persons.regions(T0_US + 12 * S, SIZE) == [whole(SIZE)]
    assert persons.regions(T0_US + 17 * S, SIZE) == []


def test_a_cell_of_which_paths_are_lost_is_hidden_as_a_whole() -> None:
    """Under pressure paths are dropped on their way: the car's arrived, the person's did not."""
    cells = [make_analysed(0, tracks=1), make_analysed(1, tracks=2), make_analysed(2, tracks=1)]
    cars = [
        track(list(range(at_ms, at_ms + 5_000, 200)), track="car", label="car")
        for at_ms in (0, 5_000, 10_000)
    ]
    persons = known(*cars, cells=cells, seconds=15)
    assert persons.regions(T0_US + 2 * S, SIZE) == []
    assert persons.regions(T0_US + 7 * S, SIZE) == [whole(SIZE)]


def test_what_a_job_analysed_shows_nothing() -> None:
    """It may have run a model that knows no persons."""
    batch = AlarmSource.BATCH
    assert known(car().model_copy(update={"source": batch})).regions(T0_US, SIZE) == [whole(SIZE)]
    cells = [make_analysed(0, source=batch)]
    assert known(cells=cells).regions(T0_US + S, SIZE) == [whole(SIZE)]
    # Whom it found is hidden all the same.
    found = track([1_000], source=batch)
    assert covers(known(car(), found).regions(T0_US + S, SIZE), (400, 200, 450, 300))


def test_an_alarm_says_nothing_of_the_others_in_its_frame() -> None:
    persons = known(alarms=[make_alarm(1)])
    assert persons.regions(T0_US + S, SIZE) == [whole(SIZE)]


def test_an_alarm_adds_its_own_box() -> None:
    persons = known(car(), alarms=[make_alarm(1, box=(0.5, 0.5, 0.6, 0.9))])
    assert covers(persons.regions(T0_US + S, SIZE), (500, 250, 600, 450))


def test_what_may_still_arrive_is_waited_for() -> None:
    """Paths are sent when their cell ends; a person may come into sight a second later."""
    cell_us = T0_US // PATH_CELL_US * PATH_CELL_US
    at_us = cell_us + 2 * S
    now_us = cell_us + PATH_CELL_US + 10 * S
    assert complete_until_us(now_us) == cell_us + PATH_CELL_US - EXTEND_US
    assert known(car(), now_us=now_us - 1).regions(at_us, SIZE) == [whole(SIZE)]
    assert known(car(), now_us=now_us).regions(at_us, SIZE) == []


def test_a_person_whose_paths_are_lost_hides_everything() -> None:
    seen = make_sighting(3)  # from the third second to the fifth
    persons = known(car(), sightings=[seen])
    assert persons.regions(T0_US + 4 * S, SIZE) == [whole(SIZE)]
    assert persons.regions(T0_US + S, SIZE) == []
    found = track([3_000, 4_000, 5_000], track=seen.track)
    assert whole(SIZE) not in known(car(), found, sightings=[seen]).regions(T0_US + 4 * S, SIZE)


# ------------------------------------------------------------ persons


def test_the_margin_is_around_the_box() -> None:
    [region] = known(car(), track([1_000])).regions(T0_US + S, SIZE)
    # 50 x 100 pixels at (400, 200); 8 % of 100 pixels on each side.
    assert region == Region(392, 192, 458, 308, 17)


@pytest.mark.parametrize("at_ms", [250, 750, 1_000, 1_500, 2_000, 2_250, 2_750])
def test_a_person_is_hidden_before_the_first_and_after_the_last_sight(at_ms: int) -> None:
    persons = known(car(), track([1_000, 2_000]))
    assert covers(persons.regions(T0_US + at_ms * 1_000, SIZE), (400, 200, 450, 300))


@pytest.mark.parametrize("at_ms", [-100, 3_100])
def test_a_second_beyond_nobody_is_hidden(at_ms: int) -> None:
    assert known(car(), track([1_000, 2_000])).regions(T0_US + at_ms * 1_000, SIZE) == []


def test_who_is_lost_for_long_is_not_hidden_meanwhile() -> None:
    persons = known(car(), track([1_000, 6_000]))
    assert persons.regions(T0_US + 3_500_000, SIZE) == []


def test_other_classes_are_not_hidden() -> None:
    assert known(car(), track([1_000], label="dog")).regions(T0_US + S, SIZE) == []


def test_who_is_ever_a_person_always_is() -> None:
    """The class of a track is a vote, which may begin with another one."""
    early = track([1_000, 1_200], label="dog", track="a")
    late = track([2_000, 2_200], label="Person", track="a")
    assert covers(known(car(), early, late).regions(T0_US + S, SIZE), (400, 200, 450, 300))


def test_of_heads_the_upper_part_is_hidden() -> None:
    [region] = known(car(), track([1_000]), rule=HEADS).regions(T0_US + S, SIZE)
    assert region[:3] == (392, 192, 458)
    # 0.6 of the width, or 0.3 of the height: 30 pixels; and the margin of 8.
    assert region.y2 == 238


@pytest.mark.parametrize("rule", [RULE, HEADS])
def test_touching_is_by_the_whole_box(rule: HideRule) -> None:
    persons = known(car(), track([1_000]), rule=rule)
    assert persons.touches((0.42, 0.5, 0.5, 0.7))
    assert not persons.touches((0.6, 0.1, 0.7, 0.2))


walks = st.lists(
    st.tuples(st.integers(0, 9_000), st.integers(0, 8_000), st.integers(50, 1_000)),
    min_size=2,
    max_size=12,
)


@given(
    walk=walks, steps=st.lists(st.integers(100, 1_500), min_size=12, max_size=12), part=st.data()
)
def test_between_two_samples_a_straight_way_is_covered(
    walk: list[tuple[int, int, int]], steps: list[int], part: st.DataObject
) -> None:
    """At any frame from the first sight to the last: the box on the straight line between its
    neighbours."""
    times = [sum(steps[:n]) for n in range(len(walk))]
    boxes = [(x, y, x + side, y + 2 * side) for x, y, side in walk]
    points = tuple((at, *box) for at, box in zip(times, boxes, strict=True))
    path = make_path(start_us=T0_US, end_us=T0_US + times[-1] * 1_000, points=points)
    persons = known(car(20_000), path, seconds=20)
    n = part.draw(st.integers(0, len(walk) - 2))
    at_ms = part.draw(st.integers(times[n], times[n + 1]))
    share = (at_ms - times[n]) / (times[n + 1] - times[n])
    between = [
        (a + (b - a) * share) / PATH_SCALE for a, b in zip(boxes[n], boxes[n + 1], strict=True)
    ]
    pixels = [min(v * s, s) for v, s in zip(between, (*SIZE, *SIZE), strict=True)]
    regions = persons.regions(T0_US + at_ms * 1_000, SIZE)
    assert regions != [whole(SIZE)]
    assert covers(regions, tuple(pixels))


@given(at_us=st.integers(T0_US - 20 * S, T0_US + 40 * S), label=st.sampled_from(["car", "person"]))
def test_a_frame_is_known_or_hidden_as_a_whole(at_us: int, label: str) -> None:
    seen_ms = [0, 200, 900, 2_500, 2_700]
    persons = known(track(seen_ms, label=label), seconds=30)
    times = [T0_US + at_ms * 1_000 for at_ms in seen_ms]
    analysed = any(abs(at_us - time) <= 2_000 for time in times)
    before = any(0 <= at_us - time <= S for time in times)
    after = any(0 <= time - at_us <= S for time in times)
    known_now = analysed or (before and after)
    assert (persons.regions(at_us, SIZE) == [whole(SIZE)]) == (not known_now)
