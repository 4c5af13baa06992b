"""One camera's watcher: a participant of its room that turns frames into detections and alarms."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from livekit import rtc

from agents.stream import DecodedFrame, FrameStream
from agents.wire import encode_detections
from cluster.controller.reports import WatcherStatus
from cluster.core.log import get_logger
from cluster.core.names import BRIDGE_IDENTITY, DETECT_TRACK, DETECTIONS_TRACK, MAIN_TRACK
from pipelines import imaging
from pipelines.clock import Clock, rate_per_s
from pipelines.crops import CropRequest, Remember
from pipelines.domain import (
    Alarm,
    CameraKey,
    CameraPlan,
    Crop,
    Detections,
    FrameStamp,
    LetterboxedFrame,
    Sighting,
    Stages,
    TrackPath,
)
from pipelines.errors import AtalaiaError
from pipelines.imaging import I420
from pipelines.masking import MaskPainter
from pipelines.pipeline import CameraPipeline, StepResult
from pipelines.sampling import FrameSampler, Skip, grid_phase

log = get_logger("watcher")

FPS_WINDOW = 50
MAX_HELD_CROPS = 64
"""Crops that wait for their track to be remembered; with more tracks than that the oldest goes."""
LOG_EVERY_NTH_ERROR = 50


class WatcherServices(Protocol):
    """What a watcher needs of its host. Called from the watcher's own event loop."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Width, height of the detector's input."""
        ...

    def plan(self, key: CameraKey) -> CameraPlan | None: ...

    async def detect(self, frame: LetterboxedFrame) -> Detections:
        """Raises AtalaiaError where no answer comes in time."""
        ...

    def raise_alarm(self, alarm: Alarm, frame: I420) -> None: ...

    def remember(self, crop: Crop) -> None: ...

    def record_updates(self, updates: Sequence[TrackPath | Sighting]) -> None:
        """What tracks did, for the records."""
        ...


class Watcher:
    """Follows the camera's track in a connected room. Runs on one event loop, one frame in flight;
    frames arrive in a thread of the SDK, which wakes the loop only for those to be analysed.

    Args:
        key: the camera.
        room: a room that was joined without subscribing to anything.
        plan: what to look for at the start.
        services: the host.
        clock: for receive times; everything else runs on capture time.
    """

    def __init__(
        self,
        key: CameraKey,
        room: rtc.Room,
        plan: CameraPlan,
        services: WatcherServices,
        clock: Clock,
    ) -> None:
        self.key = key
        self.latest: DecodedFrame | None = None
        self._room = room
        self._services = services
        self._clock = clock
        self._plan = plan
        self._pipeline = CameraPipeline(plan)
        self._painter = MaskPainter(plan.camera.masks)
        self._sampler = FrameSampler(plan.camera.detect_fps, grid_phase(key))
        self._sampling = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._crops: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()
        self._data_track: rtc.LocalDataTrack | None = None
        self._selected: rtc.RemoteTrackPublication | None = None
        self._reader: asyncio.Task[None] | None = None
        self._analysis: asyncio.Task[None] | None = None
        self._since_us = clock.now_us()
        self._arrivals: deque[int] = deque(maxlen=FPS_WINDOW)
        self._analysed: deque[int] = deque(maxlen=FPS_WINDOW)
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._closed = False

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Publish the data track and follow the camera's picture from now on."""
        self._data_track = await self._room.local_participant.publish_data_track(
            name=DETECTIONS_TRACK
        )
        for event in ("track_published", "track_unpublished", "participant_disconnected"):
            self._room.on(event, lambda *_: self._select_track())
        self._room.on("reconnected", self._ask_again)
        self._room.on("track_subscribed", self._on_subscribed)
        self._room.on("track_unsubscribed", self._on_unsubscribed)
        self._select_track()

    async def aclose(self) -> None:
        """Stop looking; hand over what is still to be remembered. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for task in (self._reader, self._analysis):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        rest = self._pipeline.finish()
        self._remember(rest.remember)
        self._services.record_updates(rest.paths)

    def status(self) -> WatcherStatus:
        """A snapshot; safe from any thread."""
        latest = self.latest
        return WatcherStatus(
            key=self.key,
            since_us=self._since_us,
            revision=self._plan.revision,
            last_frame_us=latest.stamp.capture_us if latest else 0,
            last_analysed_us=self._analysed[-1] if self._analysed else 0,
            fps=rate_per_s(self._arrivals),
            analysed_fps=rate_per_s(self._analysed),
            frames=self._counts["frames"],
            analysed=self._counts["analysed"],
            errors=self._counts["errors"],
            skipped={str(cause): n for cause, n in self._sampler.skipped.items()},
            dropped=dict(self._dropped),
        )

    @property
    def held_crops(self) -> int:
        """How many crops wait for their track to be remembered."""
        return len(self._crops)

    # ------------------------------------------------------------ choosing the track

    def _select_track(self) -> None:
        """Subscribe to the sub-stream where the camera has one, else to its main picture."""
        camera = self._room.remote_participants.get(BRIDGE_IDENTITY)
        by_name = {pub.name: pub for pub in camera.track_publications.values()} if camera else {}
        wanted = by_name.get(DETECT_TRACK) or by_name.get(MAIN_TRACK)
        current = self._selected
        if wanted is not None and current is not None and wanted.sid == current.sid:
            return
        if current is not None and current.sid in {pub.sid for pub in by_name.values()}:
            current.set_subscribed(False)
        self._selected = wanted
        if wanted is not None:
            wanted.set_subscribed(True)

    def _ask_again(self) -> None:
        """The SDK tells of tracks while it is still reconnecting, and what is asked of it then is
        lost (one time in five after LiveKit was killed)."""
        self._select_track()
        if self._selected is not None and not self._selected.subscribed:
            self._selected.set_subscribed(True)

    def _on_subscribed(self, track: rtc.Track, pub: rtc.RemoteTrackPublication, *_: object) -> None:
        if track.kind != rtc.TrackKind.KIND_VIDEO or self._closed:
            return
        if self._selected is None or pub.sid != self._selected.sid:
            return  # asked for a moment ago, and given up since
        if self._reader is not None:
            self._reader.cancel()
        self._reader = asyncio.create_task(self._read(track), name=f"read {self.key.room}")

    def _on_unsubscribed(self, _: rtc.Track, pub: rtc.RemoteTrackPublication, *__: object) -> None:
        if self._selected is not None and pub.sid == self._selected.sid:
            self._selected = None
            self._select_track()

    # ------------------------------------------------------------ frames

    async def _read(self, track: rtc.Track) -> None:
        stream = FrameStream(track, self._masks_now, self._receive, self._clock)
        try:
            await stream.ended()
        finally:
            stream.close()

    def _masks_now(self) -> MaskPainter:
        plan = self._services.plan(self.key)
        if plan is not None and plan.camera.masks != self._painter.masks:
            self._painter = MaskPainter(plan.camera.masks)
        return self._painter

    def _receive(self, frame: DecodedFrame) -> None:
        """Take the newest frame. Called by the SDK's thread."""
        self.latest = frame
        self._counts["frames"] += 1
        self._arrivals.append(frame.stamp.capture_us)
        with self._sampling:
            due = self._sampler.offer(frame.stamp.capture_us)
        if due:
            self._loop.call_soon_threadsafe(self._start_analysis, frame)

    def _start_analysis(self, frame: DecodedFrame) -> None:
        if self._closed:
            return
        self._analysis = asyncio.create_task(self._analyse(frame), name=f"analyse {self.key.room}")

    async def _analyse(self, received: DecodedFrame) -> None:
        try:
            self._follow_plan()
            picture = received.planes()
            letterboxed = imaging.letterbox_i420(picture, self._services.input_size)
            queued_us = self._clock.now_us()
            detections = await self._services.detect(letterboxed)
            detected_us = self._clock.now_us()
            result = self._pipeline.step(received.stamp, detections)
            if result.late:
                with self._sampling:
                    self._sampler.skipped[Skip.OLD] += 1
                return
            self._publish(received.stamp, result)
            stages = Stages(
                capture_us=received.stamp.capture_us,
                received_us=received.received_us,
                queued_us=queued_us,
                detected_us=detected_us,
                ruled_us=self._clock.now_us(),
            )
            for alarm in result.alarms:
                stamped = alarm.model_copy(update={"stages": stages})
                self._services.raise_alarm(stamped, picture)
            self._hold_crops(result.crops, picture)
            self._remember(result.remember)
            if result.paths:
                self._services.record_updates(result.paths)
            for track in result.forgotten:
                self._crops.pop(track, None)
            self._counts["analysed"] += 1
            self._analysed.append(received.stamp.capture_us)
        except AtalaiaError as error:
            if self._counts["errors"] % LOG_EVERY_NTH_ERROR == 0:
                log.warning("frame not analysed", room=self.key.room, error=error.message)
            self._counts["errors"] += 1
        except Exception:
            # Top of a task: without this the camera would go blind in silence.
            self._counts["errors"] += 1
            log.exception("analysis failed", room=self.key.room)
        finally:
            with self._sampling:
                self._sampler.done()

    def _follow_plan(self) -> None:
        plan = self._services.plan(self.key)
        if plan is not None and plan.revision > self._plan.revision:
            if plan.camera.masks != self._plan.camera.masks:
                self._crops.clear()  # they may show what is masked from now on
            self._plan = plan
            self._pipeline.apply(plan)
            with self._sampling:
                self._sampler.set_fps(plan.camera.detect_fps)

    def _publish(self, stamp: FrameStamp, result: StepResult) -> None:
        if self._data_track is None:
            return
        payload = encode_detections(stamp, result.tracks)
        try:
            self._data_track.try_push(
                rtc.DataTrackFrame(payload=payload, user_timestamp=stamp.capture_us)
            )
        except rtc.PushFrameError:
            # The room is away for a moment: viewers see boxes again with the next frame.
            self._dropped["boxes"] += 1

    def _hold_crops(self, requests: tuple[CropRequest, ...], frame: I420) -> None:
        for request in requests:
            self._crops[request.track_key] = imaging.cut_crop_i420(frame, request.box)
            self._crops.move_to_end(request.track_key)
        while len(self._crops) > MAX_HELD_CROPS:
            self._crops.popitem(last=False)
            self._dropped["crops"] += 1

    def _remember(self, remembers: tuple[Remember, ...]) -> None:
        for remember in remembers:
            pixels = self._crops.get(remember.sighting.track)
            if pixels is not None:
                self._services.remember(Crop(pixels, remember.sighting))
            else:
                self._services.record_updates((remember.sighting,))
