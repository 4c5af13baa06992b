"""Client for MediaMTX 1.x and its control API (`/v3`), tested with 1.20.

`POST …/paths/replace/<name>` creates or replaces a path. Such paths are lost on a restart, and the
controller sets them again. A replaced or deleted path drops its readers, who then reconnect.
MediaMTX reports only to its log why a source fails, so a failed probe asks the relay, and then
inspects the camera through the relay.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
from pydantic import SecretStr

from cluster.core.aio import call_foreign
from cluster.core.log import get_logger
from cluster.core.redaction import redact
from cluster.core.settings import Settings
from cluster.media.control import GatewayControl
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.gateway import ProbeResult, StreamName, checked_name
from cluster.media.inspection import inspect_stream
from cluster.media.sealing import GatewayKeys
from cluster.media.sources import GatewaySource, GatewaySources
from pipelines.errors import InputError, NotFoundError, UnavailableError

_CONFIG = "/v3/config/paths"
_PAGE = 500
"""Paths per page of a listing."""
# A slug contains no underscore, so this is never a camera.
_PROBE_PREFIX = "probe_"
_PROBE_THREADS = 4
"""As `cluster.controller.diagnosis.MAX_PROBES`."""
_TRACK_POLL_S = 0.15
"""Several times within the second that an inspection takes (`inspection.INSPECT_S`)."""
# Names of MediaMTX's tracks that are not audio.
_VIDEO_TRACKS = frozenset({"AV1", "VP9", "VP8", "H265", "H264", "MPEG-4 Video", "MPEG-1/2 Video",
                           "M-JPEG", "KLV", "Generic"})  # fmt: skip

log = get_logger("media.mediamtx")


class MediaMtxGateway:
    """A MediaGateway. Close it with `aclose`."""

    def __init__(self, settings: Settings) -> None:
        keys = GatewayKeys.of(settings)
        self._sources = GatewaySources(settings, keys)
        self._control = GatewayControl(settings, keys)
        self._threads = ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="probe")

    async def ensure(self, name: str, url: SecretStr) -> bool:
        tenant = checked_name(name).key.tenant
        source = self._sources.of(url, tenant)
        on_gateway, wanted = self._sources.sealed_name(name), _path(source)
        response = await self._control.request("GET", f"{_CONFIG}/get/{on_gateway}")
        if response.status_code not in (200, 404):
            raise self._control.misbehaved(response)
        present = response.json() if response.status_code == 200 else {}
        if {key: present.get(key) for key in wanted} == wanted:
            return False
        await self._replace(on_gateway, wanted)
        log.info("stream set", stream=name, source=source.camera.public, replaced=bool(present))
        return True

    async def remove(self, name: str) -> None:
        checked_name(name)
        await self._delete(self._sources.sealed_name(name))
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
        # Streams from before version 0.2, whose names were guessable.
        for guessable in filter(StreamName.parse, found):
            await self._delete(guessable)
        return {name for sealed in found if (name := self._sources.name_of(sealed))}

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        return self._sources.pull_url(self._sources.sealed_name(name))

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        if isinstance(target, str):
            checked_name(target)
            on_gateway = self._sources.sealed_name(target)
            return await self._inspect(on_gateway, await self._source_of(on_gateway, target))
        source = self._sources.of(target, "")
        on_gateway = f"{_PROBE_PREFIX}{secrets.token_hex(16)}"
        await self._replace(on_gateway, _path(source))
        try:
            return await self._inspect(on_gateway, source.url)
        finally:
            # Shielded: a cancelled caller must not leave the path behind.
            await asyncio.shield(self._delete(on_gateway))

    async def why(self, name: str) -> UnreadableCameraError | None:
        checked_name(name)
        try:
            source = await self._source_of(self._sources.sealed_name(name), name)
        except NotFoundError:
            return None
        return await self._sources.why(source)

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._sources.aclose()
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

    async def _source_of(self, on_gateway: str, name: str) -> str:
        response = await self._control.request("GET", f"{_CONFIG}/get/{on_gateway}")
        if response.status_code == 404:
            raise NotFoundError(f"The media gateway has no stream {name!r}.")
        if response.status_code != 200:
            raise self._control.misbehaved(response)
        return str(response.json()["source"])

    # ------------------------------------------------------------ probing

    async def _inspect(self, on_gateway: str, source: str) -> ProbeResult:
        url = self._sources.pull_url(on_gateway).get_secret_value()
        loop = asyncio.get_running_loop()
        inspection = loop.run_in_executor(self._threads, call_foreign, partial(inspect_stream, url))
        audio: tuple[str, ...] = ()
        try:
            while not inspection.done():
                await asyncio.wait({inspection}, timeout=_TRACK_POLL_S)
                audio = audio or await self._audio(on_gateway)
            return replace(inspection.result(), audio=audio)
        except UnreadableCameraError as observed:
            if observed.problem is CameraProblem.REFUSED:
                raise UnavailableError(
                    "The media gateway (mediamtx) does not answer on its RTSP port.",
                    hint="Check that it runs and that gateway.rtsp_url is right.",
                ) from observed
            if observed.problem is CameraProblem.CREDENTIALS:
                raise UnavailableError(
                    "The media gateway (mediamtx) refuses our credentials on its RTSP port.",
                    hint="Check gateway.username and gateway.password.",
                ) from observed
        raise await self._reason(source)

    async def _reason(self, source: str) -> UnreadableCameraError:
        """The cause: MediaMTX only reports "no stream", so ask the relay, then inspect the camera
        the camera through it."""
        if known := await self._sources.why(source):
            return known
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, call_foreign, partial(inspect_stream, source))
        except UnreadableCameraError as error:
            return await self._sources.why(source) or error
        return UnreadableCameraError(CameraProblem.LOST)

    async def _audio(self, name: str) -> tuple[str, ...]:
        response = await self._control.request("GET", f"/v3/paths/get/{name}")
        if response.status_code != 200:
            return ()
        tracks = response.json().get("tracks") or []
        return tuple(dict.fromkeys(str(t) for t in tracks if t not in _VIDEO_TRACKS))


def _path(source: GatewaySource) -> dict[str, Any]:
    """Configuration of a path that pulls the camera only while someone watches."""
    path: dict[str, Any] = {"source": source.url, "sourceOnDemand": True}
    if source.scheme == "rtsp":
        path["rtspTransport"] = "tcp"
    return path


def _reason(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return redact(response.text, 200)
    return redact(str(body.get("error", body)))
