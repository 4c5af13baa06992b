"""A frame goes one way: the SDK's thread, the camera's loop, the host's loop; and never back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from agents.watcher import Watcher
from pipelines.clock import ManualClock
from pipelines.domain import Fault, FrameStamp, PictureFault, Polygon
from pipelines.imaging import I420
from pipelines.movement import Luma
from tests.factories import T0_US
from tests.unit.agents.host_parts import (
    FPS,
    HostParts,
    make_image,
    make_plan,
    make_stamp,
    no_luma,
    turns,
)


class Frame:
    """A decoded frame; `where` is filled in by whoever copies it."""

    masks: tuple[Polygon, ...] = ()

    def __init__(self, stamp: FrameStamp, *, broken: bool = False) -> None:
        self.stamp = stamp
        self.received_us = stamp.capture_us + 1_000
        self.where = ""
        self._broken = broken

    def small_luma(self) -> Luma:
        return no_luma()

    def planes(self) -> I420:
        self.where = threading.current_thread().name
        if self._broken:
            raise RuntimeError("its memory is gone")
        return make_image()


class JobLoop:
    """The event loop of a job, in its thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="job")
        self.thread.start()

    def make(self, host: HostParts) -> Watcher:
        services = host.services()

        async def made() -> Watcher:
            room = cast("Any", None)
            return Watcher(host.plan_now.key, room, host.plan_now, services, ManualClock(T0_US))

        return asyncio.run_coroutine_threadsafe(made(), self.loop).result(10)

    def turn(self) -> None:
        """Wait until it has done what it was asked for before."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(done.set)
        assert done.wait(20)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextmanager
def job_loop() -> Iterator[JobLoop]:
    job = JobLoop()
    try:
        yield job
    finally:
        job.close()


async def receive(watcher: Watcher, frame: Frame) -> None:
    """As the SDK tells of it: in a thread of its own."""
    await asyncio.to_thread(watcher.receive, cast("Any", frame))


async def analysed(watcher: Watcher, host: HostParts, number: int) -> Frame:
    """Frame `number`, which has come all the way."""
    before = watcher.status().analysed
    frame = Frame(make_stamp(number))
    await receive(watcher, frame)
    await host.asked.acquire()
    await turns(lambda: watcher.status().analysed > before)
    return frame


async def test_pixels_are_prepared_in_the_thread_of_the_camera_and_the_rest_on_the_host() -> None:
    host = HostParts(make_plan())
    with job_loop() as job:
        watcher = job.make(host)
        for number in range(3):
            frame = await analysed(watcher, host, number)
            assert frame.where == "job"
    assert host.threads == {threading.current_thread().name}
    assert host.alarms
    status = watcher.status()
    assert (status.frames, status.analysed, status.errors) == (3, 3, 0)
    assert status.fps == status.analysed_fps == FPS
    assert status.last_frame_us == status.last_analysed_us == make_stamp(2).capture_us


async def test_results_leave_without_the_loop_of_the_camera() -> None:
    """It is blocked while the detector answers, and the alarm is raised all the same."""
    host = HostParts(make_plan(rules=()))
    blocked, go_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go_on.wait(20)

    with job_loop() as job:
        watcher = job.make(host)
        for number in range(3):
            await analysed(watcher, host, number)
        host.plan_now, host.hold = make_plan(2), asyncio.Event()
        await receive(watcher, Frame(make_stamp(3)))
        await host.asked.acquire()
        job.loop.call_soon_threadsafe(block)
        try:
            assert await asyncio.to_thread(blocked.wait, 20)
            host.hold.set()
            await turns(lambda: watcher.status().analysed == 4)
            assert [alarm.frame_id for alarm, _ in host.alarms] == [3]
        finally:
            go_on.set()


async def test_a_frame_that_cannot_be_copied_is_counted_and_the_next_one_gets_through() -> None:
    host = HostParts(make_plan())
    with job_loop() as job:
        watcher = job.make(host)
        await receive(watcher, Frame(make_stamp(0), broken=True))
        job.turn()
        assert watcher.status().errors == 1
        await analysed(watcher, host, 1)
    assert watcher.status().errors == 1


async def test_a_picture_that_shows_nothing_is_told() -> None:
    """It is grey everywhere, for longer than fifteen seconds."""
    host = HostParts(make_plan(rules=()))
    with job_loop() as job:
        watcher = job.make(host)
        for second in range(15):
            await analysed(watcher, host, second * FPS)
        job.turn()
        assert watcher.status().fault is None
        for second in range(15, 19):
            await analysed(watcher, host, second * FPS)
        job.turn()
    status = watcher.status()
    assert status.fault == Fault(PictureFault.COVERED, make_stamp(0).capture_us)
    assert status.covered_from_us == make_stamp(0).capture_us


@pytest.mark.parametrize("twice", [False, True])
async def test_a_closed_watcher_prepares_nothing(twice: bool) -> None:
    host = HostParts(make_plan())
    watcher = Watcher(
        host.plan_now.key, cast("Any", None), host.plan_now, host.services(), ManualClock(T0_US)
    )
    await watcher.aclose()
    if twice:
        await watcher.aclose()
    frame = Frame(make_stamp(0))
    await receive(watcher, frame)
    await asyncio.sleep(0)
    assert frame.where == ""
    assert host.detected == 0
