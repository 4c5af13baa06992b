"""Client for MediaMTX 1.x and its control API (`/v3`), as seen on 1.20.

`POST …/paths/replace/<name>` sets a path whether it is there or not; what is set this way is
forgotten with a restart, and the controller sets it again. A path that is replaced or deleted
drops its readers, who connect again. MediaMTX tells nobody but its log why a source fails, so a
probe that fails asks the camera itself.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
from pydantic import SecretStr

from cluster.log import get_logger
from cluster.media.control import GatewayControl
from cluster.media.gateway import (
    ProbeResult,
    StreamName,
    checked_name,
    checked_source,
    rtsp_pull_url,
)
from cluster.media.inspection import inspect_stream
from cluster.media.problems import CameraProblem, UnreadableCameraError
from cluster.media.urls import CameraUrl, parse_camera_url
from cluster.redaction import redact
from cluster.settings import GatewaySettings
from pipelines.errors import InputError, UnavailableError, UnknownThingError

_CONFIG = "/v3/config/paths"
_PAGE = 500
# An underscore cannot stand in a slug, so this is never a camera.
_PROBE_PREFIX = "probe_"
_PROBE_THREADS = 4
_TRACK_POLL_S = 0.15
# Names of MediaMTX's tracks that are not audio.
_VIDEO_TRACKS = frozenset({"AV1", "VP9", "VP8", "H265", "H264", "MPEG-4 Video", "MPEG-1/2 Video",
                           "M-JPEG", "KLV", "Generic"})  # fmt: skip

log = get_logger("media.mediamtx")


class MediaMtxGateway:
    """A MediaGateway. Close it with `aclose`."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._control = GatewayControl(settings)
        self._threads = ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="probe")

    async def ensure(self, name: str, url: SecretStr) -> bool:
        checked_name(name)
        camera = checked_source(url, self._settings)
        wanted = _path(camera)
        response = await self._control.request("GET", f"{_CONFIG}/get/{name}")
        if response.status_code not in (200, 404):
            raise self._control.misbehaved(response)
        present = response.json() if response.status_code == 200 else {}
        if {key: present.get(key) for key in wanted} == wanted:
            return False
        await self._replace(name, wanted)
        log.info("stream set", stream=name, source=camera.public, replaced=bool(present))
        return True

    async def remove(self, name: str) -> None:
        checked_name(name)
        await self._delete(name)
        log.info("stream removed", stream=name)

    async def names(self) -> set[str]:
        found: set[str] = set()
        page, pages = 0, 1
        while page < pages:
            params = {"page": str(page), "itemsPerPage": str(_PAGE)}
            response = await self._control.request("GET", f"{_CONFIG}/list", params=params)
            if response.status_code != 200:
                raise self._control.misbehaved(response)
            body = response.json()
            found |= {str(item["name"]) for item in body["items"]}
            page, pages = page + 1, int(body["pageCount"])
        return {name for name in found if StreamName.parse(name)}

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        return rtsp_pull_url(self._settings, name)

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        if isinstance(target, str):
            checked_name(target)
            return await self._inspect(target, await self._camera_url(target))
        camera = checked_source(target, self._settings)
        name = f"{_PROBE_PREFIX}{secrets.token_hex(8)}"
        await self._replace(name, _path(camera))
        try:
            return await self._inspect(name, camera.encoded)
        finally:
            # Shielded: a caller who gives up must not leave the path behind.
            await asyncio.shield(self._delete(name))

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._control.aclose()

    # ------------------------------------------------------------ paths

    async def _replace(self, name: str, wanted: dict[str, Any]) -> None:
        response = await self._control.request("POST", f"{_CONFIG}/replace/{name}", json=wanted)
        if response.status_code == 400:
            raise InputError(
                f"The media gateway (mediamtx) refuses the camera URL: {_reason(response)}",
                hint="MediaMTX reads RTSP, RTMP and HLS (http://….m3u8) cameras.",
            )
        if response.status_code != 200:
            raise self._control.misbehaved(response)

    async def _delete(self, name: str) -> None:
        response = await self._control.request("DELETE", f"{_CONFIG}/delete/{name}")
        if response.status_code not in (200, 404):
            raise self._control.misbehaved(response)

    async def _camera_url(self, name: str) -> str:
        response = await self._control.request("GET", f"{_CONFIG}/get/{name}")
        if response.status_code == 404:
            raise UnknownThingError(f"The media gateway has no stream {name!r}.")
        if response.status_code != 200:
            raise self._control.misbehaved(response)
        return str(response.json()["source"])

    # ------------------------------------------------------------ probing

    async def _inspect(self, name: str, camera_url: str) -> ProbeResult:
        url = self.rtsp_url(name).get_secret_value()
        loop = asyncio.get_running_loop()
        looking = loop.run_in_executor(self._threads, inspect_stream, url)
        audio: tuple[str, ...] = ()
        try:
            while not looking.done():
                await asyncio.wait({looking}, timeout=_TRACK_POLL_S)
                audio = audio or await self._audio(name)
            return replace(looking.result(), audio=audio)
        except UnreadableCameraError as seen:
            if seen.problem is CameraProblem.REFUSED:
                raise UnavailableError(
                    "The media gateway (mediamtx) does not answer on its RTSP port.",
                    hint="Check that it runs and that gateway.rtsp_url is right.",
                ) from seen
            if seen.problem is CameraProblem.CREDENTIALS:
                raise UnavailableError(
                    "The media gateway (mediamtx) refuses our credentials on its RTSP port.",
                    hint="Check gateway.username and gateway.password.",
                ) from seen
        raise await self._reason(camera_url)

    async def _reason(self, camera_url: str) -> UnreadableCameraError:
        """MediaMTX itself would only say "no stream": ask the camera."""
        camera = parse_camera_url(camera_url)
        loop = asyncio.get_running_loop()
        try:
            # libav reports an unknown name as a plain input/output error.
            await loop.getaddrinfo(camera.host, camera.effective_port)
        except socket.gaierror as error:
            return UnreadableCameraError(CameraProblem.DNS, str(error))
        try:
            await loop.run_in_executor(self._threads, inspect_stream, camera_url)
        except UnreadableCameraError as error:
            return error
        return UnreadableCameraError(CameraProblem.LOST)

    async def _audio(self, name: str) -> tuple[str, ...]:
        response = await self._control.request("GET", f"/v3/paths/get/{name}")
        if response.status_code != 200:
            return ()
        tracks = response.json().get("tracks") or []
        return tuple(dict.fromkeys(str(t) for t in tracks if t not in _VIDEO_TRACKS))


def _path(camera: CameraUrl) -> dict[str, Any]:
    """The configuration of a path that pulls the camera only while somebody watches."""
    path: dict[str, Any] = {"source": camera.encoded, "sourceOnDemand": True}
    if camera.scheme.startswith("rtsp"):
        path["rtspTransport"] = "tcp"
    return path


def _reason(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return redact(response.text, 200)
    return redact(str(body.get("error", body)))
