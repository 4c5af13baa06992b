"""The bridge's side of a room: joins as the camera, publishes tracks, comes back when lost."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from livekit import api, rtc
from livekit.rtc._proto.room_pb2 import VideoEncoderBackend
from livekit.rtc.encoded_video import EncodedVideoFrame, EncodedVideoSource
from livekit.rtc.participant import PublishTrackError, UnpublishTrackError

from cluster.bridge.losses import LossWatch
from cluster.bridge.units import AccessUnit
from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.core.names import BRIDGE_IDENTITY
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey, Polygon
from pipelines.errors import UnavailableError

log = get_logger("bridge.room")

FRAME_ID_MODULUS = 1 << 32
"""frame_id is an unsigned 32-bit number on the wire: 5.4 years at 25 frames/s, then it wraps."""

_METADATA_FEATURES = [
    rtc.FrameMetadataFeature.FMF_USER_TIMESTAMP,
    rtc.FrameMetadataFeature.FMF_FRAME_ID,
]
_H264 = rtc.VideoCodec.H264
# The SDK's default follows the picture's size (800 kbit/s at 640x272) and drops whole frames of a
# camera that sends more: a quarter of them at 1 Mbit/s. These are ceilings, not targets.
MAX_BITRATE_BPS = 30_000_000
MAX_FPS = 120.0
ROOM_WAIT_S = 3.0
LOSS_CHECK_S = 0.25
"""Damage shows for twice this long at most, unless it came within this time after a key frame: then
until the next one. A check of a track takes 0.5 ms of a free core and 1.3 ms of a busy one, in all
threads: 0.2 to 0.5 % of a core per track. Its answer also wakes each room of the process once, for
10 us: another 4 % of a core with 32 rooms of one track."""
STATS_TIMEOUT_S = 5.0
TOKEN_TTL = timedelta(hours=24)
"""LiveKit renews the token of a connected participant; this bounds how late it may first join."""


def publisher_token(livekit: LiveKitSettings, key: CameraKey, room: str) -> str:
    """A token that may publish into this room of the camera and do nothing else."""
    grants = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=True,
        can_publish_data=False,
        can_subscribe=False,
    )
    return (
        api.AccessToken(livekit.api_key, livekit.api_secret.get_secret_value())
        .with_identity(BRIDGE_IDENTITY)
        .with_name(key.camera)
        .with_grants(grants)
        .with_ttl(TOKEN_TTL)
        .to_jwt()
    )


class TrackSink:
    """One published track. `push` is called by a single producer thread; the rest by the loop.

    Args:
        masks: see `require_masks`.
    """

    def __init__(self, name: str, masks: tuple[Polygon, ...] = ()) -> None:
        self.name = name
        self._masks = masks
        self._passing = threading.Lock()
        self.dropped: Counter[str] = Counter()
        self._source: EncodedVideoSource | None = None
        self._accepted = self._key_frames = 0
        self._losses = LossWatch()
        self._size: tuple[int, int] | None = None
        self._await_key_frame = True

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height with which the track is (to be) published."""
        return self._size

    def expect(self, size: tuple[int, int]) -> None:
        """Remember the size until the room is there."""
        self._size = size

    def attach(self, source: EncodedVideoSource, size: tuple[int, int]) -> None:
        self._size = size
        self._await_key_frame = True
        self._accepted = self._key_frames = 0
        self._losses = LossWatch()
        self._source = source

    def detach(self) -> None:
        self._source = None

    @property
    def attached(self) -> bool:
        return self._source is not None

    def require_masks(self, masks: tuple[Polygon, ...]) -> None:
        """From the return of this call on no frame passes into which other masks are painted."""
        with self._passing:
            self._masks = masks

    def push(self, unit: AccessUnit) -> None:
        """Hand one access unit to the room. Never blocks; what is not taken is counted by cause."""
        with self._passing:
            self._push(unit)

    def _push(self, unit: AccessUnit) -> None:
        if unit.masks != self._masks:
            self.dropped["other_masks"] += 1
            self._await_key_frame = True
            return
        source = self._source
        if source is None:
            self.dropped["room_away"] += 1
            return
        if self._await_key_frame and not unit.key_frame:
            self.dropped["before_key_frame"] += 1
            return
        self._await_key_frame = False
        frame_type = (
            rtc.EncodedFrameType.ENCODED_FRAME_KEY
            if unit.key_frame
            else rtc.EncodedFrameType.ENCODED_FRAME_DELTA
        )
        accepted = source.capture_frame(
            EncodedVideoFrame(
                data=unit.data,
                width=unit.width,
                height=unit.height,
                codec=_H264,
                frame_type=frame_type,
                timestamp_us=unit.timestamp_us,
                metadata=rtc.FrameMetadata(
                    user_timestamp=unit.capture_us, frame_id=unit.number % FRAME_ID_MODULUS
                ),
            )
        )
        if accepted:
            self._accepted += 1
            self._key_frames += unit.key_frame
        else:
            self.dropped["refused_by_sdk"] += 1

    @property
    def accepted(self) -> tuple[int, int]:
        """Units that the SDK accepted since the track was attached, and key frames of them."""
        with self._passing:
            return self._accepted, self._key_frames

    def check_losses(self, accepted: tuple[int, int], encoded: int) -> None:
        """Count what the SDK lost (`cluster.bridge.losses`). After damage nothing passes until the
        next key frame: frozen video is better than frames that show what was not there.

        Args:
            accepted: see `accepted`; read before `encoded` was.
            encoded: units that the SDK's encoder received since the track was attached.
        """
        loss = self._losses.check(*accepted, encoded)
        if loss.units:
            self.dropped["lost_by_sdk"] += loss.units
        if loss.damaged:
            with self._passing:
                self._await_key_frame = True

    def key_frame_requested(self) -> bool:
        """Whether the track waits for a key frame, or a viewer asked for one since the last call.
        Only an encoder can help."""
        source = self._source
        if source is None:
            return False
        return source.take_feedback().keyframe_requested or self._await_key_frame


class RoomPublisher:
    """Keeps the camera in its room as long as it runs; owns the connection and its tracks.

    Args:
        arrived: called when there is somebody in the room who was not there before.
        name: of the room; None: the camera's own, for everybody.
    """

    def __init__(
        self,
        livekit: LiveKitSettings,
        key: CameraKey,
        backoff: Backoff,
        arrived: Callable[[], None],
        name: str | None = None,
    ) -> None:
        self._livekit = livekit
        self._arrived = arrived
        self._key = key
        self._name = name or key.room
        self._backoff = backoff
        self._sinks: dict[str, TrackSink] = {}
        self._room: rtc.Room | None = None
        self._lock = asyncio.Lock()
        self._there = asyncio.Event()
        self._lost = asyncio.Event()
        self._tracks: dict[str, rtc.LocalVideoTrack] = {}
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._join: asyncio.Task[rtc.Room] | None = None
        self._stopping = False

    @property
    def connected(self) -> bool:
        return self._room is not None and self._room.isconnected()

    @property
    def participants(self) -> dict[str, str]:
        """The others in the room: identity → id of this stay."""
        others = self._room.remote_participants if self._room is not None else {}
        return {identity: participant.sid for identity, participant in others.items()}

    @property
    def watched(self) -> bool:
        """Whether anybody else is in the room. Safe from any thread."""
        room = self._room
        return room is not None and bool(room.remote_participants)

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_connected(), name=f"room {self._name}")
        self._watch = asyncio.create_task(self._watch_losses(), name=f"losses {self._name}")

    async def open_track(self, sink: TrackSink, size: tuple[int, int]) -> None:
        """Publish `sink` with this picture size, now or as soon as the room is there.

        Waits a moment for the room, so that a camera that just started loses no pictures.

        Raises:
            UnavailableError: LiveKit refused the track.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ROOM_WAIT_S):
                await self._there.wait()
        async with self._lock:
            self._sinks[sink.name] = sink
            if self._room is None:
                sink.expect(size)  # published by the connection task when the room is there
                return
            await self._publish(self._room, sink, size)

    def request_stop(self) -> None:
        """Do not come back once the room is lost; `aclose` leaves it.

        LiveKit ends a stay when another begins under the same name. A publisher that came back
        would in turn end the stay of the one that follows it.
        """
        self._stopping = True

    async def aclose(self) -> None:
        """Leave the room. Safe to call twice."""
        for task in (self._task, self._watch):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._task = self._watch = None
        await self._end_join()
        async with self._lock:
            await self._leave()

    async def _keep_connected(self) -> None:
        while not self._stopping:
            self._lost.clear()
            try:
                await self._connect()
            except (rtc.ConnectError, UnavailableError, OSError) as error:
                log.warning("room not reached", room=self._name, error=str(error))
                async with self._lock:
                    await self._leave()
                await asyncio.sleep(self._backoff.next_delay_s())
                continue
            self._backoff.reset()
            await self._lost.wait()
            log.warning("room lost", room=self._name)
            async with self._lock:
                await self._leave()
            await asyncio.sleep(self._backoff.next_delay_s())

    async def _connect(self) -> None:
        # Shielded: see `_end_join`.
        self._join = asyncio.create_task(self._joined(), name=f"join {self._name}")
        room = await asyncio.shield(self._join)
        async with self._lock:
            self._room = room
            for sink in self._sinks.values():
                if sink.size is not None:
                    await self._publish(room, sink, sink.size)
        self._there.set()
        self._arrived()
        log.info("room joined", room=self._name)

    async def _joined(self) -> rtc.Room:
        room = rtc.Room()
        room.on("disconnected", lambda *_: self._lost.set())
        room.on("participant_connected", lambda *_: self._arrived())
        await room.connect(
            self._livekit.url,
            publisher_token(self._livekit, self._key, self._name),
            rtc.RoomOptions(auto_subscribe=False),
        )
        return room

    async def _end_join(self) -> None:
        """Wait until a connection in progress is made or refused, and leave the room again.

        `Room.connect` must not be cancelled (livekit 1.1.21, python-sdks issue 784): its last step
        reports to the native side that we are ready for events. Without it the native side gives up
        after 15 s and ends the process by SIGTERM, and every camera of this bridge with it.
        """
        if self._join is None:
            return
        await asyncio.wait({self._join})
        join, self._join = self._join, None
        if not join.cancelled() and join.exception() is None:
            await join.result().disconnect()

    async def _publish(self, room: rtc.Room, sink: TrackSink, size: tuple[int, int]) -> None:
        if sink.attached and sink.size == size:
            return
        await self._take_back(room, sink)
        source = EncodedVideoSource(*size)
        track = rtc.LocalVideoTrack.create_video_track(sink.name, source)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=_H264,
            video_encoder=VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED,
            simulcast=False,
            video_encoding=rtc.VideoEncoding(max_bitrate=MAX_BITRATE_BPS, max_framerate=MAX_FPS),
            frame_metadata_features=_METADATA_FEATURES,
        )
        try:
            await room.local_participant.publish_track(track, options)
        except PublishTrackError as error:
            raise UnavailableError(f"LiveKit did not take the track: {error}") from error
        sink.attach(source, size)
        self._tracks[sink.name] = track

    async def _watch_losses(self) -> None:
        while True:
            await asyncio.sleep(LOSS_CHECK_S)
            await self._check_losses()

    async def _check_losses(self) -> None:
        # All tracks before the first request: for 50 ms libwebrtc answers every request of a room
        # from one report, and what is accepted after that report would count as missing.
        counted = [
            (name, track, self._sinks[name].accepted) for name, track in self._tracks.items()
        ]
        for name, track, accepted in counted:
            encoded = await _encoded(track)
            if encoded is not None and self._tracks.get(name) is track:
                self._sinks[name].check_losses(accepted, encoded)

    async def _take_back(self, room: rtc.Room, sink: TrackSink) -> None:
        """End the track of another size: a camera shows one picture under one name."""
        sink.detach()
        self._tracks.pop(sink.name, None)
        for sid, publication in list(room.local_participant.track_publications.items()):
            if publication.name != sink.name:
                continue
            try:
                await room.local_participant.unpublish_track(sid)
            except UnpublishTrackError as error:
                raise UnavailableError(f"LiveKit did not end the old track: {error}") from error

    async def _leave(self) -> None:
        self._there.clear()
        self._tracks.clear()
        for sink in self._sinks.values():
            sink.detach()
        room, self._room = self._room, None
        if room is not None:
            await room.disconnect()


async def _encoded(track: rtc.LocalVideoTrack) -> int | None:
    """Frames that the track's encoder received so far; None without statistics from LiveKit."""
    try:
        async with asyncio.timeout(STATS_TIMEOUT_S):
            found = await track.get_stats()
    except Exception as error:  # noqa: BLE001 -- the SDK raises nothing more precise
        log.info("no statistics of a track", track=track.name, reason=str(error))
        return None
    for stats in found:
        if stats.WhichOneof("stats") == "outbound_rtp":
            return int(stats.outbound_rtp.outbound.frames_encoded)
    return None
