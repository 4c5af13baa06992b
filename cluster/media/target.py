"""What the relay is asked for: a camera's URL and whose it is, sealed into a path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from cluster.media.sealing import Seal
from cluster.media.urls import CameraUrl, parse_camera_url
from pipelines.errors import InputError

_SOURCE, _PART = "source", "part"


@dataclass(frozen=True, slots=True)
class Target:
    """A camera to connect to.

    Attributes:
        payer: whose camera it is: a tenant, or empty.
        url: holds the password.
        part: one file of a playlist, read as a whole; else a stream without end.
    """

    tenant: str
    url: CameraUrl
    part: bool = False

    def at(self, url: CameraUrl, *, part: bool | None = None) -> Target:
        """The same camera elsewhere: where it redirects to, or a file of its playlist."""
        return replace(self, url=url, part=self.part if part is None else part)


def seal_target(seal: Seal, target: Target) -> str:
    """The path segment that stands for `target`."""
    kind = _PART if target.part else _SOURCE
    return seal.seal(f"{target.tenant} {kind} {target.url.encoded}")


def open_target(seal: Seal, sealed: str) -> Target | None:
    """The target that a path segment stands for, or None where it was not sealed by us."""
    text = seal.open(sealed)
    if text is None:
        return None
    tenant, kind, url = text.split(" ", 2)
    try:
        return Target(tenant, parse_camera_url(url), part=kind == _PART)
    except InputError:
        return None


def relay_url(relay: str, target: Target, sealed: str) -> str:
    """The URL under which a gateway pulls a target from the relay at `relay` (tcp://…).

    Always without TLS: the relay speaks that with the camera.
    """
    scheme = target.url.scheme.removesuffix("s")
    return f"{scheme}://{urlsplit(relay).netloc}/{sealed}{_suffix(target)}"


def is_playlist(target: Target) -> bool:
    """Whether gateways are told that they get a playlist."""
    path = target.url.target.partition("?")[0].lower()
    return target.url.scheme.startswith("http") and path.endswith(".m3u8") and not target.part


def _suffix(target: Target) -> str:
    """What gateways expect behind it: MediaMTX reads HTTP only where it ends like a playlist, and
    an RTMP URL names a stream of its application."""
    if target.url.scheme.startswith("rtmp"):
        return "/live"
    return "/index.m3u8" if is_playlist(target) else ""
