"""One camera's watcher: a participant of its room that feeds the camera's frames to analysis."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque

from livekit import rtc

from agents.analysis import FPS_WINDOW, CameraAnalysis, PreparedFrame
from agents.gate import Due, FrameGate
from agents.services import WatcherServices
from agents.stream import DecodedFrame, FrameStream
from agents.wire import encode_detections
from cluster.controller.reports import WatcherStatus
from cluster.core.log import get_logger
from cluster.core.names import BRIDGE_IDENTITY, DETECT_TRACK, DETECTIONS_TRACK, MAIN_TRACK
from pipelines import imaging
from pipelines.clock import Clock, rate_per_s
from pipelines.domain import CameraKey, CameraPlan, FrameStamp, Polygon, Track
from pipelines.imaging import I420
from pipelines.masking import MaskPainter
from pipelines.sight import SightCheck

log = get_logger("watcher")


class Watcher:
    """Follows the camera's track in a connected room, on the event loop that it is made on.

    A frame goes one way: the SDK's thread reports it (`receive`) and wakes this loop if it is
    to be analysed; this loop copies and scales it (`_prepare`) and hands it to the host's loop
    (`CameraAnalysis`), where its results leave.

    Args:
        key: the camera.
        room: a room that was joined without subscribing to anything.
        plan: what to watch for at the start.
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
        self._painter = MaskPainter(plan.camera.masks)
        self._sight = SightCheck(plan.camera.masks)
        self._gate = FrameGate(plan)
        self._analysis = CameraAnalysis(plan, services, self._gate, self._show, clock)
        self._loop = asyncio.get_running_loop()
        self._data_track: rtc.LocalDataTrack | None = None
        self._selected: rtc.RemoteTrackPublication | None = None
        self._reader: asyncio.Task[None] | None = None
        self._since_us = clock.now_us()
        self._arrivals: deque[int] = deque(maxlen=FPS_WINDOW)
        self._frames = 0
        self._unprepared = 0
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
        """Take no more frames; flush what is still to be remembered. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        await self._analysis.aclose()

    def status(self) -> WatcherStatus:
        """How it is doing; called on the host's loop."""
        latest, analysis = self.latest, self._analysis
        return WatcherStatus(
            key=self.key,
            since_us=self._since_us,
            revision=analysis.revision,
            last_frame_us=latest.stamp.capture_us if latest else 0,
            last_analysed_us=analysis.last_us,
            fps=rate_per_s(self._arrivals),
            analysed_fps=analysis.fps,
            frames=self._frames,
            analysed=analysis.analysed,
            errors=analysis.errors + self._unprepared,
            skipped=self._gate.skipped,
            dropped=dict(self._dropped + analysis.dropped),
            covered_from_us=analysis.covered_from_us,
            fault=self._sight.fault,
        )

    @property
    def held_crops(self) -> int:
        """How many crops wait for their track to be remembered."""
        return self._analysis.held_crops

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
        """The SDK reports tracks while it is still reconnecting, and loses requests made then
        (one in five after LiveKit was killed)."""
        self._select_track()
        if self._selected is not None and not self._selected.subscribed:
            self._selected.set_subscribed(True)

    def _on_subscribed(self, track: rtc.Track, pub: rtc.RemoteTrackPublication, *_: object) -> None:
        if track.kind != rtc.TrackKind.KIND_VIDEO or self._closed:
            return
        if self._selected is None or pub.sid != self._selected.sid:
            return  # requested a moment ago, and given up since
        if self._reader is not None:
            self._reader.cancel()
        self._reader = asyncio.create_task(self._read(track), name=f"read {self.key.room}")

    def _on_unsubscribed(self, _: rtc.Track, pub: rtc.RemoteTrackPublication, *__: object) -> None:
        if self._selected is not None and pub.sid == self._selected.sid:
            self._selected = None
            self._select_track()

    # ------------------------------------------------------------ frames

    async def _read(self, track: rtc.Track) -> None:
        stream = FrameStream(track, self._masks_now, self.receive, self._clock)
        try:
            await stream.ended()
        finally:
            stream.close()

    def _masks_now(self) -> MaskPainter:
        plan = self._services.plans.plan(self.key)
        if plan is not None and plan.camera.masks != self._painter.masks:
            self._painter = MaskPainter(plan.camera.masks)
        return self._painter

    def receive(self, frame: DecodedFrame) -> None:
        """Take the newest frame. Called by the SDK's thread."""
        self.latest = frame
        self._frames += 1
        self._arrivals.append(frame.stamp.capture_us)
        due = self._gate.offer(frame.stamp.capture_us, frame.small_luma)
        if due is not None:
            self._loop.call_soon_threadsafe(self._prepare, frame, due)

    def _prepare(self, frame: DecodedFrame, due: Due) -> None:
        """Copy and scale the frame here, in the camera's own thread; the host's loop has the rest.

        Room events wait for it: to scale takes 0.2 ms at 640x360, 0.6 ms at 1080p.
        """
        if self._closed:
            return
        try:
            image = frame.planes()
            model_input = imaging.letterbox_i420(image, self._services.detector.input_size)
        except Exception:
            # Top of a callback: whatever this frame did, the gate must open for the next one.
            self._unprepared += 1
            self._gate.done()
            log.exception("frame not prepared", room=self.key.room)
            return
        queued_us = self._clock.now_us()
        self._analysis.offer(
            PreparedFrame(
                frame.stamp, frame.received_us, queued_us, image, model_input, frame.masks, due
            )
        )
        self._look(frame.stamp.capture_us, image, frame.masks)

    def _look(self, capture_us: int, image: I420, masks: tuple[Polygon, ...]) -> None:
        """Once a second, whether the camera still sees; the frame is on its way already."""
        if masks != self._sight.masks:
            self._sight = SightCheck(masks)
        if self._sight.due(capture_us):
            self._sight.step(capture_us, image.y)

    def _show(self, stamp: FrameStamp, tracks: tuple[Track, ...]) -> None:
        """Send a frame's boxes to the room. Called on the host's loop, as the SDK allows."""
        if self._data_track is None:
            return
        payload = encode_detections(stamp, tracks)
        try:
            self._data_track.try_push(
                rtc.DataTrackFrame(payload=payload, user_timestamp=stamp.capture_us)
            )
        except rtc.PushFrameError:
            # The room is away for a moment: viewers see boxes again with the next frame.
            self._dropped["boxes"] += 1
