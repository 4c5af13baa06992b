"""A watcher in a real room, whose detector reads the number off the frame and knows the script."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from livekit import api, rtc
from pydantic import SecretStr

from agents.services import WatcherServices
from agents.watcher import Watcher
from cluster.bridge.bridge import Bridge
from cluster.core.names import DETECTIONS_TRACK, WATCHER_IDENTITY
from cluster.core.settings import LiveKitSettings
from cluster.demo.expected import MIN_VISIBLE
from cluster.demo.scene import GroundTruth
from cluster.demo.simulator import DemoCameras
from cluster.stores.bus import TrackUpdate
from pipelines.attention import Urgency
from pipelines.clock import SystemClock
from pipelines.domain import (
    Alarm,
    Camera,
    CameraKey,
    CameraPlan,
    Crop,
    Detections,
    LetterboxedFrame,
    WorkOwner,
)
from pipelines.imaging import I420
from tests.integration.agents.scene import DETECT_FPS, ROLE, RULES, SCENE, SIZE, number_in, stage
from tests.integration.bridge.world import Picture, Servers, Shown, Viewer

GATE = CameraKey(ROLE.tenant, ROLE.id)


def plan(revision: int = 1, **changes: Any) -> CameraPlan:
    camera = Camera(
        tenant=GATE.tenant,
        id=GATE.camera,
        name="Gate",
        url=SecretStr("rtsp://x/y"),
        detect_fps=DETECT_FPS,
    )
    return CameraPlan(**{"camera": camera, "rules": RULES, "revision": revision} | changes)


def seen_in(truth: GroundTruth, number: int) -> Detections:
    """What a perfect detector finds in that frame of the loop."""
    objects = [o for o in truth.frames[number % len(truth.frames)] if o.visible >= MIN_VISIBLE]
    boxes = [[v * side for v, side in zip(o.box, SIZE * 2, strict=True)] for o in objects]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(objects), 0.85, np.float32),
        tuple(o.label for o in objects),
    )


@dataclass
class Host:
    """What a watcher needs of its host: all parts in one.

    Attributes:
        look: the detector, from the number that the frame carries.
        delay_s: how long it takes.
        looked: numbers of the frames that were looked at.
        last: the frame that was looked at last.
        in_flight, most_in_flight: calls of `detect` now, and the most there ever were.
    """

    plan_now: CameraPlan
    look: Callable[[int], Detections]
    delay_s: float = 0.0
    looked: list[int] = field(default_factory=list)
    last: LetterboxedFrame | None = None
    in_flight: int = 0
    most_in_flight: int = 0
    alarms: list[tuple[Alarm, I420]] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)
    updates: list[TrackUpdate] = field(default_factory=list)
    input_size: tuple[int, int] = (640, 384)

    def plan(self, key: CameraKey) -> CameraPlan | None:
        return self.plan_now if key == self.plan_now.key else None

    async def detect(
        self, frame: LetterboxedFrame, owner: WorkOwner, urgency: Urgency
    ) -> Detections:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.last = frame
            top = frame.letterbox.pad[1]
            number = number_in(frame.pixels[top:, :, 1])
            self.looked.append(number)
            await asyncio.sleep(self.delay_s)
            return self.look(number)
        finally:
            self.in_flight -= 1

    def raise_alarms(self, alarms: Sequence[Alarm], frame: I420) -> None:
        self.alarms += [(alarm, frame) for alarm in alarms]

    def remember(self, crop: Crop) -> None:
        self.crops.append(crop)

    def record_updates(self, updates: Sequence[TrackUpdate]) -> None:
        self.updates += updates

    def services(self) -> WatcherServices:
        """For watchers on the running loop, which is the host's, too."""
        return WatcherServices(asyncio.get_running_loop(), self, self, self, self)


def watcher_token(livekit: LiveKitSettings, key: CameraKey) -> str:
    """What LiveKit gives an agent that is dispatched to the room."""
    grants = api.VideoGrants(
        room_join=True, room=key.room, can_publish=True, can_subscribe=True, can_publish_data=True
    )
    return (
        api.AccessToken(livekit.api_key, livekit.api_secret.get_secret_value())
        .with_identity(WATCHER_IDENTITY)
        .with_kind("agent")
        .with_grants(grants)
        .with_ttl(timedelta(minutes=10))
        .to_jwt()
    )


@contextlib.asynccontextmanager
async def watching(servers: Servers, host: Host, key: CameraKey = GATE) -> AsyncIterator[Watcher]:
    """A watcher in the room, as an agent host starts it."""
    room = rtc.Room()
    livekit = servers.settings.livekit
    await room.connect(
        livekit.url, watcher_token(livekit, key), rtc.RoomOptions(auto_subscribe=False)
    )
    watcher = Watcher(key, room, host.plan_now, host.services(), SystemClock())
    try:
        await watcher.start()
        yield watcher
    finally:
        await watcher.aclose()
        await room.disconnect()


@contextlib.asynccontextmanager
async def gate_on_air(
    servers: Servers, bridge: Bridge, cameras: DemoCameras
) -> AsyncIterator[SecretStr]:
    """The numbered scene, played by a camera and carried into its room. Yields its URL."""
    (camera,) = await cameras.start()
    try:
        await bridge.sync((await servers.assignment(GATE, camera.url),))
        yield camera.url
    finally:
        await cameras.aclose()


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the data track."""

    user_timestamp: int | None
    body: dict[str, Any]


class Guard(Viewer):
    """A viewer who also reads the detections, as the dashboard does."""

    def __init__(self, livekit: LiveKitSettings, key: CameraKey) -> None:
        super().__init__(livekit, key)
        self.messages: list[Message] = []
        self.room.on("data_track_published", self._on_data)

    def number_of(self, frame_id: int) -> int:
        """Which frame of the loop that was. The camera and the bridge count alike, so one frame
        that was seen tells all others; those seen must agree."""
        shifts = {(number_in(luma_of(s)) - s.frame_id) % SCENE.frames for s in self.shown}
        assert len(shifts) == 1, shifts
        return (frame_id + shifts.pop()) % SCENE.frames

    def _on_data(self, track: rtc.RemoteDataTrack) -> None:
        assert track.info.name == DETECTIONS_TRACK
        assert track.publisher_identity == WATCHER_IDENTITY
        self._readers.add(asyncio.create_task(self._read_data(track)))

    async def _read_data(self, track: rtc.RemoteDataTrack) -> None:
        async for frame in track.subscribe(buffer_size=1000):
            self.messages.append(Message(frame.user_timestamp, json.loads(frame.payload)))


def luma_of(shown: Shown) -> Picture:
    """uint8 (height, width) of a frame of the numbered scene."""
    return shown.picture[: SIZE[0] * SIZE[1]].reshape(SIZE[1], SIZE[0])


def truth() -> GroundTruth:
    return stage().truth()
