"""The protocol that all media gateways implement, and what they share.

A gateway pulls each camera once, however many watch it, and serves it over RTSP. A stream is named
`<tenant>.<camera>`, or `<tenant>.<camera>.sub` for a camera's sub-stream. Slugs contain no dot, so
the two cannot be confused. The gateway itself knows streams only by sealed, unguessable names, and
cameras only as relay URLs (`cluster.media.sealing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import SecretStr

from cluster.media.errors import UnreadableCameraError
from pipelines.domain import CameraKey
from pipelines.errors import InputError

SUB_SUFFIX = ".sub"


class StreamName(NamedTuple):
    """The name of a stream on the gateway."""

    key: CameraKey
    sub: bool = False

    def __str__(self) -> str:
        return self.key.room + (SUB_SUFFIX if self.sub else "")

    @classmethod
    def parse(cls, name: str) -> StreamName | None:
        """Parse `name`; None if the stream is not one of ours."""
        key = CameraKey.from_room(name)
        if key:
            return cls(key)
        key = CameraKey.from_room(name.removesuffix(SUB_SUFFIX))
        return cls(key, sub=True) if key else None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Properties of a camera's stream.

    Attributes:
        codec: libav's name, e.g. `h264`, `hevc`, `mjpeg`.
        profile: e.g. `High`; empty if the codec has none.
        width, height: source pixels.
        fps: frames per second, measured if possible; 0.0 if unknown.
        has_b_frames: whether decoding order differs from presentation order.
        audio: the audio codecs that the camera offers, in the gateway's terms.
        transcode_reason: why the bridge cannot pass this video through; empty if it can.
    """

    codec: str
    profile: str
    width: int
    height: int
    fps: float
    has_b_frames: bool
    audio: tuple[str, ...] = ()
    transcode_reason: str = ""


class MediaGateway(Protocol):
    """Manages camera streams on a gateway. Every call has a time-out.

    Each asynchronous method raises UnavailableError if the gateway is unreachable or fails.
    """

    async def ensure(self, name: str, url: SecretStr) -> bool:
        """Make the stream `name` pull `url` through the relay. Idempotent.

        Returns:
            Whether anything changed. Viewers of a replaced stream keep seeing the old camera until
            they reconnect.

        Raises:
            InputError: `name` is not one of our streams, or `url` is not a camera URL.
        """
        ...

    async def remove(self, name: str) -> None:
        """Remove the stream if it exists. Viewers must disconnect themselves.

        Raises:
            InputError: `name` is not one of our streams.
        """
        ...

    async def names(self) -> set[str]:
        """Our streams on the gateway, without those of others."""
        ...

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        """The RTSP URL of stream `name`. A secret: it is enough to watch.

        Args:
            sound: also request audio; some gateways include it in any case.
        """
        ...

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        """Inspect a camera's stream.

        Args:
            target: the name of a stream, or the URL (secret) of a camera that has none yet.

        Raises:
            UnreadableCameraError: the camera cannot be read; has the cause.
            NotFoundError: the gateway has no such stream.
            InputError: not a camera URL.
        """
        ...

    async def why(self, name: str) -> UnreadableCameraError | None:
        """Why the relay could not read the camera of stream `name` when it was last pulled; None if
        it could. Connects to no camera.

        Raises:
            InputError: `name` is not one of our streams.
        """
        ...

    async def aclose(self) -> None: ...


def checked_name(name: str) -> StreamName:
    """Parse the name of one of our streams.

    Raises:
        InputError: `name` is not one.
    """
    parsed = StreamName.parse(name)
    if parsed is None:
        raise InputError(
            f"{name!r} is not a stream name: <tenant>.<camera> or <tenant>.<camera>.sub."
        )
    return parsed
