"""What comes of a camera's frames, on the host's loop."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from agents.analysis import MAX_HELD_CROPS, CameraAnalysis
from agents.gate import FrameGate
from pipelines.clock import ManualClock
from pipelines.domain import (
    AnalysedCell,
    Detections,
    FrameStamp,
    Polygon,
    Sighting,
    Track,
    TrackPath,
    WorkOwner,
)
from pipelines.errors import StaleFrameError, UnavailableError
from tests.factories import T0_US
from tests.unit.agents.host_parts import (
    FPS,
    ONE_PERSON,
    SIZE,
    HostParts,
    make_plan,
    make_prepared,
    make_stamp,
    no_luma,
    turns,
)

HALF: Polygon = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))


@dataclass
class Desk:
    """A camera's analysis in a host of its own."""

    host: HostParts = field(default_factory=lambda: HostParts(make_plan()))
    clock: ManualClock = field(default_factory=lambda: ManualClock(T0_US))
    gate: FrameGate = field(default_factory=lambda: FrameGate(make_plan()))
    shown: list[tuple[FrameStamp, tuple[Track, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.analysis = CameraAnalysis(
            self.host.plan_now,
            self.host.services(),
            self.gate,
            lambda *frame: self.shown.append(frame),
            self.clock,
        )

    async def analysed(self, number: int, **changes: Any) -> None:
        """Let a frame through the gate and see it done."""
        assert self.gate.offer(make_stamp(number).capture_us, no_luma)
        before = self.done
        self.analysis.offer(make_prepared(number, **changes))
        await turns(lambda: self.done > before)

    @property
    def done(self) -> int:
        old = self.gate.skipped.get("old", 0)
        return self.analysis.analysed + self.analysis.errors + old


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_an_alarm_has_its_frame_and_the_time_of_each_stage(desk: Desk) -> None:
    desk.clock.advance(1.0)
    for number in range(3):
        await desk.analysed(number)
    (alarm, frame), *_ = desk.host.alarms
    stages = alarm.stages
    prepared = make_prepared(alarm.frame_id)
    assert (stages.capture_us, stages.received_us, stages.queued_us) == (
        prepared.stamp.capture_us,
        prepared.received_us,
        prepared.queued_us,
    )
    assert stages.detected_us == stages.ruled_us == T0_US + 1_000_000
    assert stages.published_us == 0  # that is still to come
    assert frame.size == SIZE
    assert desk.analysis.analysed == 3
    assert desk.analysis.last_us == make_stamp(2).capture_us
    assert desk.analysis.fps == FPS


async def test_every_analysed_frame_is_shown_with_its_stamp(desk: Desk) -> None:
    for number in range(4):
        await desk.analysed(number)
    assert [stamp for stamp, _ in desk.shown] == [make_stamp(number) for number in range(4)]
    assert [len(tracks) for _, tracks in desk.shown][-1] == 1


async def test_a_late_frame_is_counted_and_shown_to_nobody(desk: Desk) -> None:
    await desk.analysed(5)
    desk.analysis.offer(make_prepared(4))
    await turns(lambda: desk.gate.skipped.get("old") == 1)
    assert len(desk.shown) == 1
    assert desk.analysis.analysed == 1


@pytest.mark.parametrize("error", [UnavailableError("the detector is away"), ValueError("a bug")])
async def test_a_frame_that_fails_is_counted_and_the_next_one_gets_through(
    desk: Desk, error: Exception
) -> None:
    def fail() -> Detections:
        raise error

    desk.host.look = fail
    await desk.analysed(0)
    assert (desk.analysis.errors, desk.analysis.analysed) == (1, 0)
    desk.host.look = lambda: ONE_PERSON
    await desk.analysed(1)
    assert (desk.analysis.errors, desk.analysis.analysed) == (1, 1)


async def test_a_frame_that_waited_too_long_is_skipped_and_no_error(desk: Desk) -> None:
    def fail() -> Detections:
        raise StaleFrameError("it waited for too long")

    desk.host.look = fail
    assert desk.gate.offer(make_stamp(0).capture_us, no_luma)
    desk.analysis.offer(make_prepared(0))
    await turns(lambda: desk.gate.skipped == {"stale": 1})
    assert (desk.analysis.errors, desk.analysis.analysed, desk.analysis.last_us) == (0, 0, 0)
    desk.host.look = lambda: ONE_PERSON
    await desk.analysed(1)
    assert desk.analysis.analysed == 1


async def test_the_detector_is_told_whose_frame_it_is(desk: Desk) -> None:
    await desk.analysed(0)
    assert desk.host.owners == {WorkOwner(*desk.host.plan_now.key)}


async def test_a_newer_plan_holds_from_the_next_frame_on_and_an_older_one_never(desk: Desk) -> None:
    desk.host.plan_now = make_plan(3, rules=())
    for number in range(3):
        await desk.analysed(number)
    assert desk.analysis.revision == 3
    assert desk.host.alarms == []
    desk.host.plan_now = make_plan(2)
    await desk.analysed(3)
    assert desk.analysis.revision == 3
    assert desk.host.alarms == []


async def test_another_rate_holds_without_another_revision(desk: Desk) -> None:
    """The controller divides a tenant's quota anew when another of its cameras changes."""
    plan = desk.host.plan_now
    slower = plan.camera.model_copy(update={"detect_fps": FPS / 2})
    desk.host.plan_now = plan.model_copy(update={"camera": slower})
    await desk.analysed(0)
    due = 0
    for number in range(1, 21):
        if desk.gate.offer(make_stamp(number).capture_us, no_luma):
            due += 1
            desk.gate.done()
    assert due in (10, 11)
    assert desk.analysis.revision == plan.revision


async def test_a_track_is_remembered_with_its_crop_and_its_path_is_told(desk: Desk) -> None:
    for number in range(3 * FPS):
        await desk.analysed(number)
    assert desk.analysis.held_crops == 1
    (crop,) = desk.host.crops
    left, top, right, bottom = desk.host.crops[0].sighting.box
    height, width = crop.pixels.shape[:2]
    assert width == pytest.approx((right - left) * SIZE[0], abs=4)
    assert height == pytest.approx((bottom - top) * SIZE[1], abs=8)
    await desk.analysis.aclose()
    paths = [updates for updates in desk.host.updates if isinstance(updates, TrackPath)]
    assert sum(len(path.points) for path in paths) >= 3 * FPS - 1
    cells = [update for update in desk.host.updates if isinstance(update, AnalysedCell)]
    assert sum(len(cell.times) for cell in cells) == 3 * FPS
    # After the paths that they count.
    last = max(n for n, update in enumerate(desk.host.updates) if isinstance(update, TrackPath))
    assert isinstance(desk.host.updates[last + 1], AnalysedCell)
    assert desk.host.updates[last + 1].tracks == 1


@pytest.mark.parametrize(("painted", "held"), [((), 0), ((HALF,), 1)])
async def test_crops_that_show_what_is_masked_by_now_are_not_kept(
    desk: Desk, painted: tuple[Polygon, ...], held: int
) -> None:
    """Neither those held when masks come, nor that of a frame that was painted before."""
    for number in range(3):
        await desk.analysed(number)
    assert desk.analysis.held_crops == 1
    desk.host.plan_now = make_plan(2, masks=(HALF,))
    # Larger and more certain: the best crop of its track.
    desk.host.look = lambda: Detections(
        np.array([[6, 4, 34, 44]], np.float32), np.array([0.99], np.float32), ("person",)
    )
    await desk.analysed(3, masks=painted)
    assert desk.analysis.held_crops == held
    # Without a crop an object is told of all the same.
    await desk.analysis.aclose()
    assert len(desk.host.crops) == held
    assert sum(isinstance(updates, Sighting) for updates in desk.host.updates) == 1 - held


async def test_held_crops_are_bounded() -> None:
    columns = [(x, y) for y in range(8) for x in range(10)]
    crowd = Detections(
        np.array([[x * 6, y * 6, x * 6 + 5, y * 6 + 5] for x, y in columns], np.float32),
        np.full(len(columns), 0.9, np.float32),
        ("person",) * len(columns),
    )
    desk = Desk(HostParts(make_plan(), look=lambda: crowd))
    for number in range(5):
        await desk.analysed(number)
    assert desk.analysis.held_crops == MAX_HELD_CROPS
    assert desk.analysis.dropped["crops"] >= len(columns) - MAX_HELD_CROPS
    assert desk.analysis.errors == 0


async def test_closing_drops_the_frame_in_flight_and_hands_over_the_rest(desk: Desk) -> None:
    for number in range(3):
        await desk.analysed(number)
    desk.host.hold = asyncio.Event()
    detected = desk.host.detected
    desk.analysis.offer(make_prepared(3))
    await turns(lambda: desk.host.detected > detected)
    await desk.analysis.aclose()
    assert desk.analysis.analysed == 3
    assert len(desk.host.crops) == 1
    assert any(isinstance(updates, TrackPath) for updates in desk.host.updates)
    told = len(desk.host.updates)
    await desk.analysis.aclose()
    desk.analysis.offer(make_prepared(4))
    await asyncio.sleep(0)
    assert (len(desk.host.crops), len(desk.host.updates)) == (1, told)
    assert desk.host.detected == detected + 1


async def test_whoever_calls_it_the_work_is_done_on_the_loop_of_the_host(desk: Desk) -> None:
    """A camera's thread only hands over; it may close it, too, from a loop of its own."""
    here = threading.current_thread().name

    def camera() -> None:
        for number in range(3):
            desk.analysis.offer(make_prepared(number))
        asyncio.run(desk.analysis.aclose())

    await asyncio.to_thread(camera)
    assert desk.host.threads == {here}
