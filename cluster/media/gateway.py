"""The one protocol behind which media gateways live, and what is the same for all of them.

A gateway pulls each camera once, whoever watches, and serves it over RTSP. Here a stream is called
`<tenant>.<camera>`, and `<tenant>.<camera>.sub` for a camera's sub-stream. Slugs hold no dot, so
neither can be mistaken for the other. The gateway itself knows streams only by sealed names, which
nobody can guess, and cameras only as URLs of the relay (`cluster.media.sealing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import SecretStr

from pipelines.domain import CameraKey
from pipelines.errors import InputError

SUB_SUFFIX = ".sub"


class StreamName(NamedTuple):
    """What a stream on the gateway carries."""

    key: CameraKey
    sub: bool = False

    def __str__(self) -> str:
        return self.key.room + (SUB_SUFFIX if self.sub else "")

    @classmethod
    def parse(cls, name: str) -> StreamName | None:
        """What `name` carries, or None where the stream is not one of ours."""
        key = CameraKey.from_room(name)
        if key:
            return cls(key)
        key = CameraKey.from_room(name.removesuffix(SUB_SUFFIX))
        return cls(key, sub=True) if key else None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a camera sends.

    Attributes:
        codec: libav's name, e.g. `h264`, `hevc`, `mjpeg`.
        profile: e.g. `High`; empty where the codec has none.
        width, height: source pixels.
        fps: frames per second, measured where possible; 0.0 where unknown.
        has_b_frames: whether frames come in another order than they are shown.
        audio: names of the audio codecs that the camera offers, as the gateway calls them.
        transcode_reason: why the bridge cannot pass this video unchanged; empty where it can.
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
    """Keeps the streams of cameras on a gateway. Every call has a time limit.

    Each method raises UnavailableError where the gateway cannot be reached or misbehaves.
    """

    async def ensure(self, name: str, url: SecretStr) -> bool:
        """Make the stream `name` pull `url`, through the relay. Doing so again changes nothing.

        Returns:
            Whether something changed. Those who watch a stream that was replaced go on seeing the
            old camera until they connect again.

        Raises:
            InputError: `name` is no stream of ours, or `url` no URL of a camera.
        """
        ...

    async def remove(self, name: str) -> None:
        """Take the stream away; a name that is not there is fine. Who watches it must disconnect.

        Raises:
            InputError: `name` is no stream of ours.
        """
        ...

    async def names(self) -> set[str]:
        """The streams of ours on the gateway; what others put there is left out."""
        ...

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        """Where the video of stream `name` can be pulled, with `sound` where it is wanted (and some
        may come without). A secret: who knows it can watch."""
        ...

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        """Look at what a camera sends: a stream by its name, or a URL (secret) not yet ensured.

        Raises:
            UnreadableCameraError: the camera cannot be read; says why.
            UnknownThingError: the gateway has no stream of that name.
            InputError: no URL of a camera.
        """
        ...

    async def aclose(self) -> None: ...


def checked_name(name: str) -> StreamName:
    """Raises InputError where `name` is no stream of ours."""
    parsed = StreamName.parse(name)
    if parsed is None:
        raise InputError(
            f"{name!r} is not a stream name: <tenant>.<camera> or <tenant>.<camera>.sub."
        )
    return parsed
