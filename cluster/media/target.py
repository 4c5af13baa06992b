"""Targets of the relay: a camera's URL and its tenant, sealed into a URL path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from cluster.media.sealing import Seal
from cluster.media.urls import CameraUrl, parse_camera_url
from pipelines.errors import InputError

_SOURCE, _PART = "source", "part"
_LED = "led-"
"""Before the kind of a target whose credentials a camera chose."""


@dataclass(frozen=True, slots=True)
class Target:
    """A camera to connect to.

    Attributes:
        tenant: whose camera it is; empty for a probe.
        url: contains the password.
        part: whether it is one segment of a playlist, read as a whole, rather than a live stream.
        led: whether a camera chose the user name and password in `url`, by a redirect or playlist.
    """

    tenant: str
    url: CameraUrl
    part: bool = False
    led: bool = False

    def as_part(self, part: bool) -> Target:
        """The same, as a segment of a playlist or as a stream."""
        return replace(self, part=part)

    def at(self, url: CameraUrl, *, led: bool) -> Target:
        """The same camera at another URL: a redirect target, or a segment of its playlist."""
        return replace(self, url=url, led=led)


def seal_target(seal: Seal, target: Target) -> str:
    """Seal `target` into a path segment."""
    kind = (_LED if target.led else "") + (_PART if target.part else _SOURCE)
    return seal.seal(f"{target.tenant} {kind} {target.url.encoded}")


def open_target(seal: Seal, sealed: str) -> Target | None:
    """The target of a sealed path segment; None if it was not sealed by us."""
    text = seal.open(sealed)
    if text is None:
        return None
    tenant, kind, url = text.split(" ", 2)
    try:
        camera = parse_camera_url(url)
    except InputError:
        return None
    return Target(tenant, camera, part=kind.removeprefix(_LED) == _PART, led=kind.startswith(_LED))


def relay_url(relay: str, target: Target, sealed: str) -> str:
    """The URL at which a gateway pulls a target from the relay at `relay` (tcp://…).

    Always without TLS: only the relay's connection to the camera uses it.
    """
    scheme = target.url.scheme.removesuffix("s")
    return f"{scheme}://{urlsplit(relay).netloc}/{sealed}{_suffix(target)}"


def is_playlist(target: Target) -> bool:
    """Whether the relay announces a playlist to the gateway for this target."""
    path = target.url.target.partition("?")[0].lower()
    return target.url.scheme.startswith("http") and path.endswith(".m3u8") and not target.part


def _suffix(target: Target) -> str:
    """The path suffix that gateways expect: MediaMTX reads an HTTP source only if it ends like a
    playlist, and an RTMP URL needs a stream name after its application."""
    if target.url.scheme.startswith("rtmp"):
        return "/live"
    return "/index.m3u8" if is_playlist(target) else ""
