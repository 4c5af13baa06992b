"""What may be removed. Expected values come from checking every hold against every thing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.retention import (
    CLIP_MARGIN_US,
    DAY_US,
    EVENT_AFTER_US,
    EVENT_BEFORE_US,
    Candidate,
    HeldSpan,
    PlatformLimits,
    Retention,
    RetentionKind,
    RetentionPolicy,
    Usage,
    around_alarm,
    clip_bounds,
    cutoff_us,
    is_held,
    oldest_worth,
    windows,
)
from tests.unit.pipelines.properties import PROPERTY

K = RetentionKind
# An example takes well below a millisecond, and edges have to meet.
THOROUGH = settings(PROPERTY, max_examples=400)
CAMERAS = ("gate", "yard")
NOBODY = PlatformLimits()

# Small numbers, so that edges meet.
moments = st.integers(0, 40)
spans = st.tuples(moments, moments).map(lambda pair: (min(pair), max(pair)))
holds = st.builds(
    lambda camera, span: HeldSpan(camera, *span), st.sampled_from([None, *CAMERAS]), spans
)


# ------------------------------------------------------------ limits


def test_a_camera_comes_before_the_tenant_and_the_tenant_before_the_platform() -> None:
    policy = RetentionPolicy(
        days={K.RECORDINGS: 30, K.PATHS: None}, cameras={"gate": {K.RECORDINGS: 7}}
    )
    found = Retention(policy, PlatformLimits(default={K.RECORDINGS: 90, K.PATHS: 5, K.ALARMS: 365}))
    assert found.days(K.RECORDINGS, "gate") == 7
    assert found.days(K.RECORDINGS, "yard") == 30
    assert found.days(K.PATHS, "gate") is None
    assert found.days(K.ALARMS) == 365
    assert found.days(K.EXPORTS) is None


@pytest.mark.parametrize(("kind", "owner"), [(K.CLIPS, K.ALARMS), (K.EMBEDDINGS, K.OBJECTS)])
def test_what_belongs_to_something_goes_with_it(kind: K, owner: K) -> None:
    found = Retention(RetentionPolicy(days={kind: None, owner: 3}), NOBODY)
    assert found.days(kind) == 3
    found = Retention(RetentionPolicy(days={kind: 2, owner: 3}), NOBODY)
    assert found.days(kind) == 2


def test_pictures_go_with_what_they_show() -> None:
    found = Retention(RetentionPolicy(days={K.SNAPSHOTS: 5, K.OBJECTS: 3}), NOBODY)
    assert found.picture_days(K.OBJECTS) == 3
    assert found.picture_days(K.ALARMS) == 5


def test_bounds_that_are_newer_than_the_policy_apply() -> None:
    policy = RetentionPolicy(days={K.RECORDINGS: None, K.ALARMS: 1})
    bounds = PlatformLimits(most={K.RECORDINGS: 60}, least={K.ALARMS: 30})
    found = Retention(policy, bounds)
    assert (found.days(K.RECORDINGS), found.days(K.ALARMS)) == (60, 30)
    # Where nobody says anything, the most is what applies.
    assert Retention(RetentionPolicy(), bounds).days(K.RECORDINGS) == 60


days_or_none = st.none() | st.integers(1, 30)
limits = st.dictionaries(st.sampled_from(list(K)), days_or_none, max_size=8)


@THOROUGH
@given(limits, limits, st.dictionaries(st.sampled_from(CAMERAS), limits), limits)
def test_nothing_is_kept_for_less_than_the_least_of_its_kind(
    default: dict[K, int | None],
    days: dict[K, int | None],
    cameras: dict[str, dict[K, int | None]],
    least: dict[K, int | None],
) -> None:
    """Not through its owner either, nor in any policy, whether or not it would be accepted now."""
    platform = PlatformLimits.model_validate({"default": default, "least": least})
    policy = RetentionPolicy.model_validate({"days": days, "cameras": cameras})
    found = Retention(policy, platform)
    for camera in (None, *CAMERAS):
        kept = {kind: [found.days(kind, camera)] for kind in K}
        kept[K.SNAPSHOTS] = [found.picture_days(owner, camera) for owner in (K.ALARMS, K.OBJECTS)]
        for kind, bound in least.items():
            assert all(bound is None or d is None or d >= bound for d in kept[kind])


def test_a_limit_that_would_undercut_another_kind_is_refused() -> None:
    bounds = PlatformLimits(least={K.CLIPS: 180, K.SNAPSHOTS: 90})
    for kind, days in ((K.ALARMS, 179), (K.OBJECTS, 89)):
        with pytest.raises(InputError, match=f"{kind.value} may not be kept for {days} days"):
            bounds.check(RetentionPolicy(days={kind: days}))
    bounds.check(RetentionPolicy(days={K.ALARMS: 180, K.OBJECTS: 90, K.SNAPSHOTS: 90}))


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (61, "recordings may not be kept for 61 days"),
        (None, "recordings may not be kept without end"),
        (0.5, "recordings may not be kept for 0.5 days"),
    ],
)
def test_a_policy_outside_the_bounds_is_refused(days: float | None, text: str) -> None:
    bounds = PlatformLimits(most={K.RECORDINGS: 60}, least={K.RECORDINGS: 1})
    with pytest.raises(InputError, match=text) as caught:
        bounds.check(RetentionPolicy(cameras={"gate": {K.RECORDINGS: days}}))
    assert caught.value.hint == "This installation allows at least 1 days and at most 60 days."
    bounds.check(RetentionPolicy(days={K.RECORDINGS: 60, K.ALARMS: None}))


def test_an_age_counts_back_from_now() -> None:
    assert cutoff_us(10 * DAY_US, 7) == 3 * DAY_US
    assert cutoff_us(10 * DAY_US, 0.5) == 9 * DAY_US + DAY_US // 2
    assert cutoff_us(10 * DAY_US, None) is None


# ------------------------------------------------------------ holds


def _held(start: int, end: int, camera: str, kept: list[HeldSpan]) -> bool:
    """Worked out moment by moment."""
    moments = set(range(start, end + 1))
    return any(
        hold.camera in (None, camera) and moments & set(range(hold.from_us, hold.to_us + 1))
        for hold in kept
    )


@THOROUGH
@given(spans, moments, st.lists(holds, max_size=6), st.sampled_from(CAMERAS))
def test_what_is_old_and_not_held_goes_and_nothing_else(
    span: tuple[int, int], until: int, kept: list[HeldSpan], camera: str
) -> None:
    start, end = span
    held = _held(start, end, camera, kept)
    assert is_held(start, end, kept, camera) == held
    inside = [w for w in windows(until, kept, camera) if w.from_us <= start and end < w.until_us]
    assert bool(inside) == (end < until and not held)


@THOROUGH
@given(spans, st.lists(holds, max_size=6))
def test_what_is_nobodys_is_held_where_any_camera_is(
    span: tuple[int, int], kept: list[HeldSpan]
) -> None:
    assert is_held(*span, kept, "") == any(_held(*span, camera, kept) for camera in CAMERAS)


@THOROUGH
@given(moments, st.lists(holds, max_size=6), st.sampled_from(CAMERAS))
def test_windows_are_apart_and_in_order(until: int, kept: list[HeldSpan], camera: str) -> None:
    found = windows(until, kept, camera)
    assert all(window.from_us < window.until_us <= until for window in found)
    assert all(a.until_us < b.from_us for a, b in pairwise(found))


def test_a_clip_shows_more_than_its_rolls() -> None:
    """The longest that a camera may have, and a group of pictures."""
    assert (EVENT_BEFORE_US, EVENT_AFTER_US) == (60_000_000, 300_000_000)
    assert around_alarm(0) == (-60_000_000, 300_000_000)
    assert clip_bounds(0) == (-60_000_000 - CLIP_MARGIN_US, 300_000_000 + CLIP_MARGIN_US)


# ------------------------------------------------------------ space


things = st.lists(st.tuples(moments, st.integers(1, 30)), max_size=8)


@THOROUGH
@given(st.lists(things, max_size=4), st.integers(1, 200), st.integers(1, 4))
def test_the_oldest_go_and_no_more_than_needed(
    tenants: list[list[tuple[int, int]]], need: int, length: int
) -> None:
    every = [
        sorted(
            Candidate(end, f"t{t}", "gate", end, size, f"{n}.mp4")
            for n, (end, size) in enumerate(of_tenant)
        )
        for t, of_tenant in enumerate(tenants)
    ]
    chosen = oldest_worth([known[:length] for known in every], need, length)
    left = {candidate for known in every for candidate in known} - set(chosen)
    # Also of what the lists did not show, nothing is older.
    assert all(went.end_us <= stays.end_us for went in chosen for stays in left)
    freed = sum(candidate.size for candidate in chosen)
    assert not chosen or freed - chosen[-1].size < need
    assert chosen or not left
    if not any(len(known) > length for known in every):
        assert freed >= need or not left


def test_how_much_is_above_a_mark() -> None:
    usage = Usage(used=950, total=1_000)
    assert usage.fraction == 0.95
    assert usage.excess(0.9) == 50
    assert usage.excess(0.96) == 0
    assert Usage(0, 0).fraction == 0.0
