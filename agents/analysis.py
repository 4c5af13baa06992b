"""From one camera's prepared frames to detections, tracks and alarms, on the host's loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agents.gate import EVENLY, Due, FrameGate
from agents.services import WatcherServices
from cluster.core.log import get_logger
from pipelines import imaging
from pipelines.clock import Clock, rate_per_s
from pipelines.crops import CropRequest, RememberRequest
from pipelines.domain import (
    CameraPlan,
    Crop,
    FrameStamp,
    LetterboxedFrame,
    Polygon,
    Stages,
    Track,
    WorkOwner,
)
from pipelines.errors import AtalaiaError, StaleFrameError
from pipelines.imaging import I420
from pipelines.ledger import Run
from pipelines.pipeline import CameraPipeline, StepResult

log = get_logger("analysis")

FPS_WINDOW = 50
MAX_HELD_CROPS = 64
"""Crops held until their track is remembered. Beyond this the oldest is dropped."""
LOG_EVERY_NTH_ERROR = 50


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A frame with all that analysis needs of its pixels.

    Attributes:
        received_us, queued_us: when it was decoded and when it was prepared, UTC microseconds.
        image: full size, masks painted in.
        model_input: the same at the size of the detector's input.
        masks: those that were painted.
        due: why it is analysed.
    """

    stamp: FrameStamp
    received_us: int
    queued_us: int
    image: I420
    model_input: LetterboxedFrame
    masks: tuple[Polygon, ...]
    due: Due = EVENLY


class CameraAnalysis:
    """One camera's pipeline. Its state belongs to the host's loop; only `offer` and `aclose` may be
    called from elsewhere.

    A frame comes in once and its results leave from here: the camera's own loop is not needed
    again. That loop runs what numpy and cv2 do without the interpreter's lock (copy and scale);
    the pipeline holds the lock, so threads would not make it faster. A step with 5 tracks takes
    0.9 ms, with 20 tracks 2.5 ms, with 90 tracks 11 ms (two busy cores).

    Args:
        plan: what to watch for at the start.
        services: the host.
        gate: opened again when the frame in flight is done.
        show: sends a frame's tracks to the viewers; called on the host's loop.
        clock: for the stages of alarms.
    """

    def __init__(
        self,
        plan: CameraPlan,
        services: WatcherServices,
        gate: FrameGate,
        show: Callable[[FrameStamp, tuple[Track, ...]], None],
        clock: Clock,
    ) -> None:
        self.analysed = 0
        self.errors = 0
        self.dropped: Counter[str] = Counter()
        self._key = plan.key
        self._owner = WorkOwner(*plan.key)
        self._plan = plan
        self._services = services
        self._gate = gate
        self._show = show
        self._clock = clock
        self._pipeline = CameraPipeline(plan)
        self._crops: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()
        self._times_us: deque[int] = deque(maxlen=FPS_WINDOW)
        self._run = Run()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    # ------------------------------------------------------------ from any thread

    def offer(self, frame: PreparedFrame) -> None:
        """Hand a frame over to the host's loop. The gate lets one through at a time."""
        self._services.loop.call_soon_threadsafe(self._start, frame)

    async def aclose(self) -> None:
        """Drop the frame in flight; flush what is still to be remembered. Idempotent."""
        closing = asyncio.run_coroutine_threadsafe(self._finish(), self._services.loop)
        await asyncio.wrap_future(closing)

    # ------------------------------------------------------------ on the host's loop

    @property
    def revision(self) -> int:
        return self._plan.revision

    @property
    def held_crops(self) -> int:
        """How many crops wait for their track to be remembered."""
        return len(self._crops)

    @property
    def fps(self) -> float:
        """Frames that are analysed per second of capture time."""
        return rate_per_s(self._times_us)

    @property
    def last_us(self) -> int:
        """Capture time of the last frame that was analysed, 0 before the first."""
        return self._times_us[-1] if self._times_us else 0

    @property
    def covered_from_us(self) -> int:
        """Capture time of the first frame of the present run without a gap, 0 before the first."""
        return self._run.from_us

    def _start(self, frame: PreparedFrame) -> None:
        if self._closed:
            return
        self._task = asyncio.create_task(self._analyse(frame), name=f"analyse {self._key.room}")

    async def _finish(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        rest = self._pipeline.finish()
        self._remember(rest.remember)
        self._services.publishers.record_updates((*rest.paths, *rest.analysed))

    async def _analyse(self, frame: PreparedFrame) -> None:
        try:
            await self._infer(frame)
        except StaleFrameError:
            # Not a fault of this camera: if no frame gets through, the controller sees that.
            self._gate.count_stale()
        except AtalaiaError as error:
            if self.errors % LOG_EVERY_NTH_ERROR == 0:
                log.warning("frame not analysed", room=self._key.room, error=error.message)
            self.errors += 1
        except Exception:
            # Top of a task: without this, analysis of the camera would stop unnoticed.
            self.errors += 1
            log.exception("analysis failed", room=self._key.room)
        finally:
            self._gate.done()

    async def _infer(self, frame: PreparedFrame) -> None:
        self._follow_plan()
        detections = await self._services.detector.detect(
            frame.model_input, self._owner, frame.due.urgency
        )
        detected_us = self._clock.now_us()
        self._gate.learn(frame.stamp, detections)
        result = self._pipeline.step(frame.stamp, detections, frame.due.quiet_us)
        if result.late:
            self._gate.count_late()
            return
        self._show(frame.stamp, result.tracks)
        self._raise_alarms(frame, result, detected_us)
        self._keep(frame, result)
        self.analysed += 1
        self._times_us.append(frame.stamp.capture_us)
        self._run.step(frame.stamp.capture_us, self._plan.camera.detect_fps)

    def _follow_plan(self) -> None:
        plan = self._services.plans.plan(self._key)
        # By identity first: most frames have the plan of the one before. One of the same revision
        # has another rate, where the tenant's quota was divided anew.
        if plan is None or plan is self._plan or plan.revision < self._plan.revision:
            return
        before, self._plan = self._plan, plan
        if plan == before:
            return
        if plan.camera.masks != before.camera.masks:
            self._crops.clear()  # they may show what is masked from now on
        self._pipeline.apply(plan)
        self._gate.follow(plan)

    def _raise_alarms(self, frame: PreparedFrame, result: StepResult, detected_us: int) -> None:
        if not result.alarms:
            return
        stages = Stages(
            capture_us=frame.stamp.capture_us,
            received_us=frame.received_us,
            queued_us=frame.queued_us,
            detected_us=detected_us,
            ruled_us=self._clock.now_us(),
        )
        stamped = [alarm.model_copy(update={"stages": stages}) for alarm in result.alarms]
        self._services.evidence.raise_alarms(stamped, frame.image)

    def _keep(self, frame: PreparedFrame, result: StepResult) -> None:
        """Crops of this frame, then what is to be remembered, then what can be forgotten."""
        if frame.masks == self._plan.camera.masks:
            self._hold_crops(result.crops, frame.image)
        self._remember(result.remember)
        if result.paths or result.analysed:
            # Paths first: under pressure the oldest are dropped, and a cell says how many it has.
            self._services.publishers.record_updates((*result.paths, *result.analysed))
        for track in result.forgotten:
            self._crops.pop(track, None)

    def _hold_crops(self, requests: tuple[CropRequest, ...], image: I420) -> None:
        for request in requests:
            self._crops[request.track_key] = imaging.cut_crop_i420(image, request.box)
            self._crops.move_to_end(request.track_key)
        while len(self._crops) > MAX_HELD_CROPS:
            self._crops.popitem(last=False)
            self.dropped["crops"] += 1

    def _remember(self, remembers: tuple[RememberRequest, ...]) -> None:
        for remember in remembers:
            pixels = self._crops.get(remember.sighting.track)
            if pixels is not None:
                self._services.evidence.remember(Crop(pixels, remember.sighting))
            else:
                self._services.publishers.record_updates((remember.sighting,))
