"""The bridge: carries many cameras in one process."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import Future

import psutil

from cluster.bridge.guard import GuardedRoom
from cluster.bridge.pump import StreamPump
from cluster.bridge.room import RoomPublisher, TrackSink
from cluster.bridge.units import BridgeCamera, BridgeStatus, CameraBridgeStatus
from cluster.bridge.unmasked import UnmaskedRoom
from cluster.bridge.viewers import GuardService
from cluster.core.backoff import Backoff
from cluster.core.log import configure_logging, get_logger
from cluster.core.names import DETECT_TRACK, MAIN_TRACK
from cluster.core.settings import Settings
from cluster.recording.service import RecordingService
from pipelines.clock import Clock, SystemClock
from pipelines.domain import CameraKey, Polygon

log = get_logger("bridge")


class CameraBridge:
    """One camera: its place in its rooms and one pump per track. Lives on the actor's event loop.

    Of a camera with masks the room that everybody may enter gets masked video, in each track.
    """

    def __init__(
        self,
        camera: BridgeCamera,
        settings: Settings,
        clock: Clock,
        recordings: RecordingService,
        guard: GuardService,
    ) -> None:
        self.camera = camera
        self._settings = settings
        self._recordings = recordings
        self._guard = guard
        self._recording = recordings.camera(camera.key)
        self._loop = asyncio.get_running_loop()
        self._room = RoomPublisher(
            settings.livekit, camera.key, self._backoff(settings), guard.arrived
        )
        self._pumps: dict[str, StreamPump] = {}
        urls = {MAIN_TRACK: camera.main_url, DETECT_TRACK: camera.detect_url}
        for track, url in urls.items():
            if url is not None:
                self._pumps[track] = StreamPump(
                    f"{camera.key.room}/{track}",
                    url,
                    TrackSink(track),
                    self._open_track,
                    settings=settings.bridge,
                    clock=clock,
                    backoff=self._backoff(settings),
                    tap=self._recording.tap if track == MAIN_TRACK else None,
                    masks=camera.masks,
                )
        self._unmasked: UnmaskedRoom | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @staticmethod
    def _backoff(settings: Settings) -> Backoff:
        return Backoff(settings.bridge.backoff_initial_s, settings.bridge.backoff_max_s)

    def _open_track(self, sink: TrackSink, size: tuple[int, int]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._room.open_track(sink, size), self._loop)

    def start(self) -> None:
        self.update(self.camera)
        self._room.start()
        for pump in self._pumps.values():
            pump.start()

    def update(self, camera: BridgeCamera) -> None:
        """Apply what may change without a new pull. When this returns, no frame with other masks
        reaches a room or a recording."""
        self.camera = camera
        self._follow_masks()  # first, because a pump looks for the room when it opens its stream
        for pump in self._pumps.values():
            pump.set_masks(camera.masks)
        self._recording.apply(camera.recording, camera.masks)

    def require_masks(self, masks: tuple[Polygon, ...]) -> None:
        """When this returns, no frame with other masks reaches a room, and none the recording. For
        a camera that is let go of and goes on elsewhere."""
        for pump in self._pumps.values():
            pump.set_masks(masks)
        self._recording.request_stop()

    def _follow_masks(self) -> None:
        """Wait in the unmasked room while there are masks, and no longer."""
        room = self._unmasked
        if self.camera.masks and room is None:
            livekit, backoff = self._settings.livekit, self._backoff(self._settings)
            self._unmasked = UnmaskedRoom(livekit, self.camera.key, backoff, self._guard.arrived)
            self._unmasked.start()
        elif room is not None and not self.camera.masks:
            self._unmasked = None
            task = asyncio.create_task(room.aclose(), name=f"leave {self.camera.key.unmasked_room}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._pumps[MAIN_TRACK].unmasked = self._unmasked

    def status(self) -> CameraBridgeStatus:
        recording = self._recording.status()
        if not recording.reason:
            recording = recording.model_copy(update={"reason": self._recordings.problem})
        detect = self._pumps.get(DETECT_TRACK)
        return CameraBridgeStatus(
            key=self.camera.key,
            version=self.camera.version,
            in_room=self._room.connected,
            main=self._pumps[MAIN_TRACK].status(),
            detect=detect.status() if detect else None,
            recording=recording,
        )

    @property
    def participants(self) -> dict[GuardedRoom, dict[str, str]]:
        """The others in each of the camera's rooms: identity → id of this stay."""
        key = self.camera.key
        found = {GuardedRoom(key.tenant, key.room): self._room.participants}
        if self._unmasked is not None:
            room = GuardedRoom(key.tenant, key.unmasked_room)
            found[room] = self._unmasked.participants
        return found

    async def aclose(self, timeout_s: float) -> None:
        """Stop the pumps, finish the recording, then leave the room."""
        self._room.request_stop()
        for pump in self._pumps.values():
            pump.request_stop()
        self._recording.request_stop()
        if self._unmasked is not None:
            await self._unmasked.aclose()
        if not await asyncio.to_thread(self._recording.join, timeout_s):
            # The next process repairs and ships it.
            log.warning("a recording is not finished", room=self.camera.key.room)
        for name, pump in self._pumps.items():
            if not await asyncio.to_thread(pump.join, timeout_s):
                log.warning("pump still blocked in a read", room=self.camera.key.room, track=name)
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._room.aclose()


class Bridge:
    """Carries the cameras that the controller gave it last; nothing else decides.

    A plain class, so that tests can run it without Ray; the controller's fleet makes it an actor.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        configure_logging(settings.log)
        self._settings = settings
        self._clock = clock or SystemClock()
        self._incarnation = uuid.uuid4().hex
        self._cameras: dict[CameraKey, CameraBridge] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._process = psutil.Process()
        self._recordings: RecordingService | None = None
        self._guard: GuardService | None = None

    async def sync(self, cameras: tuple[BridgeCamera, ...]) -> BridgeStatus:
        """Bridge exactly these cameras; returns the state of each. Idempotent."""
        if self._recordings is None:  # from the start: what was left on the disk is to be sent
            self._recordings = RecordingService(self._settings, self._clock)
        if self._guard is None:
            self._guard = GuardService(self._settings, self._clock, self._participants)
        await self._carry(cameras, self._recordings, self._guard)
        return self.status()

    def _participants(self) -> dict[GuardedRoom, dict[str, str]]:
        return {
            room: people
            for bridge in self._cameras.values()
            for room, people in bridge.participants.items()
        }

    async def _carry(
        self,
        cameras: tuple[BridgeCamera, ...],
        recordings: RecordingService,
        guard: GuardService,
    ) -> None:
        async with self._lock:
            wanted = {camera.key: camera for camera in cameras}
            stale = [
                key
                for key, bridge in self._cameras.items()
                if key not in wanted or wanted[key].version != bridge.camera.version
            ]
            for key in stale:
                old = self._cameras.pop(key)
                if key in wanted:
                    old.require_masks(wanted[key].masks)
                self._let_go(old)
            for key, camera in wanted.items():
                if key in self._cameras:
                    self._cameras[key].update(camera)
                else:
                    bridge = CameraBridge(camera, self._settings, self._clock, recordings, guard)
                    self._cameras[key] = bridge
                    bridge.start()

    def _let_go(self, bridge: CameraBridge) -> None:
        """Close beside the others: one pull that hangs in a read must not hold up the rest."""
        timeout_s = self._settings.bridge.read_timeout_s + 1.0
        task = asyncio.create_task(bridge.aclose(timeout_s), name=f"close {bridge.camera.key.room}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def status(self) -> BridgeStatus:
        return BridgeStatus(
            incarnation=self._incarnation,
            cameras=tuple(bridge.status() for bridge in self._cameras.values()),
            rss_bytes=self._process.memory_info().rss,
        )

    async def aclose(self) -> None:
        """Let go of every camera. Safe to call twice."""
        if self._recordings is None or self._guard is None:
            return
        await self._carry((), self._recordings, self._guard)
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._guard.aclose()
        await self._recordings.aclose()
