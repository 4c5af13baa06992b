"""The one protocol behind which media gateways live, and what is the same for all of them.

A gateway pulls each camera once, whoever watches, and serves it over RTSP. Streams of ours are
named `<tenant>.<camera>`, and `<tenant>.<camera>.sub` for a camera's sub-stream. Slugs hold no dot,
so neither can be mistaken for the other, nor for a stream that somebody else put on the gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from pydantic import SecretStr

from cluster.media.urls import CameraUrl, parse_camera_url
from cluster.settings import GatewaySettings
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
        """Make the stream `name` pull `url`. Doing so again changes nothing.

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
        may come without). Holds the gateway's credentials."""
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


def make_gateway(settings: GatewaySettings) -> MediaGateway:
    """The client for the gateway that the settings name."""
    # Imported here so that each client may use this module.
    if settings.kind == "mediamtx":
        from cluster.media.mediamtx import MediaMtxGateway

        return MediaMtxGateway(settings)
    from cluster.media.go2rtc import Go2RtcGateway

    return Go2RtcGateway(settings)


def checked_name(name: str) -> StreamName:
    """Raises InputError where `name` is no stream of ours."""
    parsed = StreamName.parse(name)
    if parsed is None:
        raise InputError(
            f"{name!r} is not a stream name: <tenant>.<camera> or <tenant>.<camera>.sub."
        )
    return parsed


def checked_source(url: SecretStr, settings: GatewaySettings) -> CameraUrl:
    """The camera's URL, taken apart.

    Raises:
        InputError: it is none, or it points back at a camera on this gateway, which would show one
            tenant's camera to another. (A gateway that listens to more than loopback needs a
            password as well: it has more names than are known here.)
    """
    source = parse_camera_url(url.get_secret_value())
    gateway = parse_camera_url(settings.rtsp_url)
    same_port = source.scheme == gateway.scheme and source.effective_port == gateway.effective_port
    path = unquote(source.target.partition("?")[0]).strip("/")
    if same_port and _same_host(source.host, gateway.host) and "." in path:
        raise InputError(
            "The camera URL points at a camera of this gateway.",
            hint="Give the URL of the camera itself.",
        )
    return source


_LOOPBACK = frozenset({"localhost", "::1", "0.0.0.0", "::"})


def _same_host(one: str, other: str) -> bool:
    def loops(host: str) -> bool:
        return host in _LOOPBACK or host.startswith("127.")

    return one == other or (loops(one) and loops(other))


def rtsp_pull_url(settings: GatewaySettings, name: str, query: str = "") -> SecretStr:
    """The gateway's RTSP URL of stream `name`, with the gateway's own credentials."""
    base = parse_camera_url(settings.rtsp_url)
    password = settings.password.get_secret_value() if settings.password else base.password
    url = CameraUrl(
        scheme=base.scheme,
        username=settings.username or base.username,
        password=password,
        host=base.host,
        port=base.effective_port,
        target=f"{base.target.rstrip('/')}/{name}{query}",
    )
    return SecretStr(url.encoded)
