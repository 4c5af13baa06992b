"""Packets in decoding order are matched with the times of presented frames."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cluster.recording.reorder import JUMP_US, MAX_PENDING, ReorderBuffer
from cluster.recording.segment import VideoUnit

STEP_US = 40_000
START_US = 1_790_000_000_000_000


def capture_of(pts_us: int) -> int:
    """Capture time of a frame, with the jitter of a capture clock."""
    return START_US + pts_us + pts_us % 313


def play(order: list[int], delay: int, damaged: frozenset[int] = frozenset()) -> list[VideoUnit]:
    """Send frames in this order. Each is presented once all earlier ones, and `delay` more, have
    arrived. Frames in `damaged` are never presented."""
    buffer = ReorderBuffer()
    made: list[VideoUnit] = []
    to_show = sorted(order)
    for place, number in enumerate(order):
        buffer.push_packet(b"%d" % number, number == 0, number * STEP_US / 1e6)
        came = set(order[: place + 1])
        while to_show and to_show[0] in came and len(came & set(to_show)) > delay:
            shown = to_show.pop(0)
            if shown not in damaged:
                made += buffer.present(shown * STEP_US / 1e6, capture_of(shown * STEP_US))
    for shown in to_show:
        if shown not in damaged:
            made += buffer.present(shown * STEP_US / 1e6, capture_of(shown * STEP_US))
    return made


def assert_decodable(made: list[VideoUnit]) -> None:
    assert all(unit.decode_us <= unit.capture_us for unit in made)
    assert all(a.decode_us < b.decode_us for a, b in itertools.pairwise(made))


def test_without_reordering_decode_time_equals_capture_time() -> None:
    made = play(list(range(10)), delay=0)
    assert [unit.capture_us for unit in made] == [capture_of(n * STEP_US) for n in range(10)]
    assert all(unit.decode_us == unit.capture_us for unit in made)


def test_two_b_frames() -> None:
    order = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]
    made = play(order, delay=1)
    assert [int(unit.data) for unit in made] == order
    assert [unit.capture_us for unit in made] == [capture_of(n * STEP_US) for n in order]
    assert_decodable(made)
    # Evenly spaced, so that no player stutters.
    steps = [b.decode_us - a.decode_us for a, b in itertools.pairwise(made[3:])]
    assert all(abs(step - STEP_US) < 1_000 for step in steps)


@given(st.permutations(range(8)), st.integers(0, 8))
def test_any_order_and_any_delay(order: list[int], delay: int) -> None:
    groups = [n + 8 * group for group in range(3) for n in order]
    made = play(groups, delay)
    assert [int(unit.data) for unit in made] == groups
    assert [unit.capture_us for unit in made] == [capture_of(n * STEP_US) for n in groups]
    assert_decodable(made)


@given(st.frozensets(st.integers(1, 22)))
def test_damaged_frames_get_their_time_from_their_neighbours(damaged: frozenset[int]) -> None:
    order = [n + 3 * group for group in range(8) for n in (2, 0, 1)]
    made = play(order, delay=1, damaged=damaged)
    assert [int(unit.data) for unit in made] == [n for n in order if n <= 23]
    assert all(abs(u.capture_us - capture_of(int(u.data) * STEP_US)) <= 313 for u in made)
    assert_decodable(made)


def test_a_jump_back_in_time_leaves_no_frame_without_its_time() -> None:
    buffer = ReorderBuffer()
    made = []
    for pts_us, capture_us in [(10 * JUMP_US, START_US), (0, START_US + STEP_US)]:
        buffer.push_packet(b"x", True, pts_us / 1e6)
        buffer.push_packet(b"y", False, (pts_us + STEP_US) / 1e6)
        made += buffer.present(pts_us / 1e6, capture_us)
        made += buffer.present((pts_us + STEP_US) / 1e6, capture_us + STEP_US // 2)
    assert [unit.capture_us - START_US for unit in made] == [0, 20_000, 40_000, 60_000]
    assert_decodable(made)
    assert buffer.lost == 0


def test_frames_that_are_never_presented_do_not_accumulate() -> None:
    buffer = ReorderBuffer()
    for n in range(3 * MAX_PENDING):
        buffer.push_packet(b"x", True, n * 0.04)
    assert buffer.lost == 2 * MAX_PENDING
    buffer.push_packet(b"no time", True, None)
    assert buffer.lost == 2 * MAX_PENDING + 1
    assert buffer.present(None, START_US) == []
    assert buffer.present(1e6, START_US) == []
