"""A host whose parts are all here: it answers at once, and notes who asked in which thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents.analysis import PreparedFrame
from agents.services import WatcherServices
from cluster.stores.bus import TrackUpdate
from pipelines.attention import Urgency
from pipelines.domain import (
    Alarm,
    CameraKey,
    CameraPlan,
    CountRule,
    Crop,
    Detections,
    FrameStamp,
    LetterboxedFrame,
    Polygon,
    Rule,
    WorkOwner,
)
from pipelines.imaging import I420, letterbox_i420
from pipelines.movement import Luma
from tests.factories import T0_US, make_camera

SIZE = (64, 48)
INPUT = (64, 64)
FPS = 5
EVERYWHERE: Polygon = ((0, 0), (1, 0), (1, 1), (0, 1))
ANYBODY = CountRule(id="anybody", polygon=EVERYWHERE, n=1, cooldown_s=0)
ONE_PERSON = Detections(
    np.array([[10, 8, 30, 40]], np.float32), np.array([0.9], np.float32), ("person",)
)


def make_plan(
    revision: int = 1, id: str = "gate", rules: tuple[Rule, ...] = (ANYBODY,), **camera: Any
) -> CameraPlan:
    camera = {"detect_fps": FPS} | camera
    return CameraPlan(camera=make_camera(id=id, **camera), rules=rules, revision=revision)


def no_luma() -> Luma:
    raise AssertionError("at an even rate nobody looks for movement")


def make_image() -> I420:
    """Grey, and writable."""
    buffer = np.full(SIZE[0] * SIZE[1] * 3 // 2, 128, np.uint8)
    return I420.from_buffer(buffer, *SIZE)


def make_stamp(number: int) -> FrameStamp:
    """Frame `number`, at the rate of the plan."""
    return FrameStamp(T0_US + number * 1_000_000 // FPS, number, *SIZE)


def make_prepared(number: int, masks: tuple[Polygon, ...] = ()) -> PreparedFrame:
    stamp, image = make_stamp(number), make_image()
    received_us = stamp.capture_us + 1_000
    model_input = letterbox_i420(image, INPUT)
    return PreparedFrame(stamp, received_us, received_us + 500, image, model_input, masks)


@dataclass
class HostParts:
    """All parts of a host in one.

    Attributes:
        look: the detector.
        hold: where there is one, the detector waits for it.
        asked: released for each frame that the detector is asked about.
        threads: names of the threads in which parts were called.
    """

    plan_now: CameraPlan
    look: Callable[[], Detections] = lambda: ONE_PERSON
    hold: asyncio.Event | None = None
    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    threads: set[str] = field(default_factory=set)
    detected: int = 0
    owners: set[WorkOwner] = field(default_factory=set)
    alarms: list[tuple[Alarm, I420]] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)
    updates: list[TrackUpdate] = field(default_factory=list)
    input_size: tuple[int, int] = INPUT

    def plan(self, key: CameraKey) -> CameraPlan | None:
        return self.plan_now if key == self.plan_now.key else None

    async def detect(
        self, frame: LetterboxedFrame, owner: WorkOwner, urgency: Urgency
    ) -> Detections:
        self._called()
        self.owners.add(owner)
        self.detected += 1
        self.asked.release()
        if self.hold is not None:
            await self.hold.wait()
        return self.look()

    def raise_alarms(self, alarms: Sequence[Alarm], frame: I420) -> None:
        self._called()
        self.alarms += [(alarm, frame) for alarm in alarms]

    def remember(self, crop: Crop) -> None:
        self._called()
        self.crops.append(crop)

    def record_updates(self, updates: Sequence[TrackUpdate]) -> None:
        self._called()
        self.updates += updates

    def services(self) -> WatcherServices:
        """The running loop is the host's."""
        return WatcherServices(asyncio.get_running_loop(), self, self, self, self)

    def _called(self) -> None:
        self.threads.add(threading.current_thread().name)


async def turns(until: Callable[[], bool], most: int = 200) -> None:
    """Let the loop turn until something holds; no real time passes on an idle loop."""
    for _ in range(most):
        if until():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")
