"""What a room needs around it: real LiveKit, real gateway, and people who look at the room."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from livekit import api, rtc
from livekit.rtc._ffi_client import FfiClient
from pydantic import SecretStr

from cluster.bridge.bridge import Bridge
from cluster.bridge.units import BridgeCamera, CameraBridgeStatus, StreamPhase
from cluster.core.settings import LiveKitSettings, Settings
from cluster.local.binaries import GO2RTC, LIVEKIT, GoServer, find_binary
from cluster.local.process import SupervisedProcess
from cluster.local.servers import go2rtc_spec, livekit_spec, relay_spec
from cluster.media.gateway import StreamName
from cluster.media.go2rtc import Go2RtcGateway
from pipelines.clock import SystemClock
from pipelines.domain import CameraKey
from tests.integration.local.helpers import free_settings
from tests.integration.media.rtsp_camera import RtspCamera

PATIENCE_S = 60.0
"""For whatever happens in another process: this machine may have ten other things to do."""

T = TypeVar("T")
Picture = npt.NDArray[np.uint8]


async def until(what: str, condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds; fails naming what did not happen."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 -- it happens elsewhere, unannounced
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {within_s:.0f} s: {what}")


def server_binary(server: GoServer) -> Path:
    found = find_binary(server.name)
    if found is None:
        pytest.skip(f"needs {server.name} on PATH (`make servers` builds it)")
    return found


# Short pauses and deadlines: the tests break things on purpose and wait for what follows.
BRIDGE: dict[str, float] = {
    "open_timeout_s": 10.0,
    "read_timeout_s": 3.0,
    "backoff_initial_s": 0.2,
    "backoff_max_s": 1.0,
}

RECORDING: dict[str, float] = {"segment_s": 2.0, "alarm_segment_s": 2.0, "grace_s": 2.0}


class Servers:
    """livekit-server, go2rtc and relay on free ports, which come back when they are killed.

    Args:
        redis_url: where the alarms of the bridge's cameras would come through.
    """

    def __init__(self, data_dir: Path, redis_url: str) -> None:
        # Made on first use and without a lock: before any pump's thread could make a second one.
        assert FfiClient.instance
        changes: dict[str, Any] = {"bridge": BRIDGE, "recording": RECORDING}
        self.settings = Settings(**free_settings(data_dir, redis={"url": redis_url}, **changes))
        self.livekit = self.new_livekit()
        self.go2rtc = SupervisedProcess(
            go2rtc_spec(self.settings, server_binary(GO2RTC)), clock=SystemClock()
        )
        self.relay = SupervisedProcess(relay_spec(self.settings), clock=SystemClock())
        self.gateway = Go2RtcGateway(self.settings)

    def new_livekit(self) -> SupervisedProcess:
        """A server that was not started yet, in the place of one that was closed."""
        spec = livekit_spec(self.settings, server_binary(LIVEKIT))
        self.livekit = SupervisedProcess(spec, clock=SystemClock())
        return self.livekit

    async def start(self) -> None:
        await asyncio.gather(self.livekit.start(), self.go2rtc.start(), self.relay.start())

    async def aclose(self) -> None:
        await self.gateway.aclose()
        await self.go2rtc.aclose()
        await self.relay.aclose()
        await self.livekit.aclose()

    async def assignment(
        self,
        key: CameraKey,
        url: SecretStr,
        sub: SecretStr | None = None,
        version: str = "1",
        sound: bool = False,
    ) -> BridgeCamera:
        """Put a camera on the gateway; what the bridge has to be told of it."""
        await self.gateway.ensure(str(StreamName(key)), url)
        detect = None
        if sub is not None:
            name = str(StreamName(key, sub=True))
            await self.gateway.ensure(name, sub)
            detect = self.gateway.rtsp_url(name)
        main = self.gateway.rtsp_url(str(StreamName(key)), sound=sound)
        return BridgeCamera(key, main, detect, version)

    @contextlib.asynccontextmanager
    async def scene(
        self, key: CameraKey, camera: RtspCamera
    ) -> AsyncIterator[tuple[BridgeCamera, Viewer]]:
        """A camera that plays and is on the gateway, and somebody in its room."""
        async with camera.serving(), Viewer(self.settings.livekit, key) as viewer:
            yield await self.assignment(key, SecretStr(camera.url())), viewer

    async def identities(self, key: CameraKey) -> set[str]:
        """Who is in the camera's room; nobody where there is no such room."""
        livekit = self.settings.livekit
        client = api.LiveKitAPI(livekit.url, livekit.api_key, livekit.api_secret.get_secret_value())
        try:
            answer = await client.room.list_participants(api.ListParticipantsRequest(room=key.room))
        except api.TwirpError as error:
            if error.code != "not_found":
                raise
            return set()
        finally:
            await client.aclose()
        return {participant.identity for participant in answer.participants}

    @staticmethod
    async def eventually(what: str, look: Callable[[], Awaitable[T]], expected: T) -> None:
        """Wait until a server tells what is expected."""
        seen: T | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (seen := await look()) != expected:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"not within {PATIENCE_S:.0f} s: {what}; still {seen}")

    async def watched(self, name: str) -> int:
        """How many pull that stream from the gateway now; -1 where it has no such stream."""
        streams: dict[str, Any] = await self.gateway._streams()
        on_gateway = self.gateway._sources.sealed_name(name)
        if on_gateway not in streams:
            return -1
        return len(streams[on_gateway].get("consumers") or [])


def state_of(bridge: Bridge, key: CameraKey) -> CameraBridgeStatus:
    return next(camera for camera in bridge.status().cameras if camera.key == key)


def streaming(bridge: Bridge, key: CameraKey) -> bool:
    return state_of(bridge, key).main.phase is StreamPhase.STREAMING


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame that a viewer got.

    Attributes:
        picture: I420 bytes, in one row.
        now_us: when it came, UTC microseconds.
    """

    track: str
    frame_id: int
    capture_us: int
    now_us: int
    size: tuple[int, int]
    picture: Picture


def delivered(shown: list[Shown]) -> float:
    """Share of the frames between the first and the last that came."""
    return len(shown) / (shown[-1].frame_id - shown[0].frame_id + 1)


class Viewer:
    """Somebody who joins the camera's room, may only look, and notes every frame."""

    def __init__(
        self,
        livekit: LiveKitSettings,
        key: CameraKey,
        identity: str = "viewer",
        room: str | None = None,
    ) -> None:
        self._livekit = livekit
        self._room_name = room or key.room
        self._identity = identity
        self._readers: set[asyncio.Task[None]] = set()
        self.room = rtc.Room()
        self.shown: list[Shown] = []

    async def __aenter__(self) -> Self:
        self.room.on("track_subscribed", self._on_track)
        await self.room.connect(self._livekit.url, self._token())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await self.room.disconnect()

    def of(self, track: str) -> list[Shown]:
        return [shown for shown in self.shown if shown.track == track]

    async def frames(self, count: int, track: str = "main") -> list[Shown]:
        """The frames of that track once there are as many."""
        await until(f"{count} frames of {track}", lambda: len(self.of(track)) >= count)
        return self.of(track)

    def _token(self) -> str:
        grants = api.VideoGrants(
            room_join=True, room=self._room_name, can_publish=False, can_publish_data=False
        )
        return (
            api.AccessToken(self._livekit.api_key, self._livekit.api_secret.get_secret_value())
            .with_identity(self._identity)
            .with_grants(grants)
            .with_ttl(timedelta(minutes=10))
            .to_jwt()
        )

    def _on_track(self, track: rtc.Track, pub: rtc.RemoteTrackPublication, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            self._readers.add(asyncio.create_task(self._read(track, pub.name)))

    async def _read(self, track: rtc.Track, name: str) -> None:
        # Deep: what counts here is delivery, however late this busy machine looks at it.
        stream = rtc.VideoStream(track, capacity=500)
        try:
            async for event in stream:
                assert event.metadata is not None
                frame = event.frame
                assert frame.type == rtc.VideoBufferType.I420
                self.shown.append(
                    Shown(
                        track=name,
                        frame_id=event.metadata.frame_id,
                        capture_us=event.metadata.user_timestamp,
                        now_us=time.time_ns() // 1000,
                        size=(frame.width, frame.height),
                        picture=np.frombuffer(frame.data, np.uint8).copy(),
                    )
                )
        finally:
            await stream.aclose()


@contextlib.asynccontextmanager
async def mjpeg_camera(pictures: list[bytes], fps: float = 10.0) -> AsyncIterator[str]:
    """A camera that sends JPEG after JPEG over HTTP, as cheap ones do. Yields its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"
            )
            while True:
                for picture in pictures:
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}"
                    writer.write(head.encode() + b"\r\n\r\n" + picture + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(1 / fps)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the viewer left
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/video.mjpg"
    finally:
        server.close()
