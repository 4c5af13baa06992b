"""Client for go2rtc 1.9: https://github.com/AlexxIT/go2rtc, read at v1.9.9.

What its API does not say, and what follows from it here:

- `PUT /api/streams` answers 200 to any source, so a source is checked before and the result after;
  and 400 when only the writing of its configuration file fails, though the stream is there.
- It would run `exec:` sources and expand `${NAME}`: `cluster.media.urls` lets no such thing pass.
- `DELETE` changes a map without a lock: our changes go one after another.
- What is replaced or removed while somebody watches lives on, unlisted, until the last watcher has
  disconnected; then its camera connection closes too.
- Its RTSP client speaks TCP only. (`#transport=` would name a WebSocket.) Asking for audio on a
  stream whose video plays makes it connect to the camera again: everybody pulls `?video` only, but
  for the bridge where it records the sound.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

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
from cluster.media.problems import CameraProblem, UnreadableCameraError, unreadable
from cluster.media.urls import CameraUrl
from cluster.settings import GatewaySettings
from pipelines.clock import Clock, SystemClock
from pipelines.errors import UnavailableError, UnknownThingError

_PATH = "/api/streams"
# No two-way audio: some cameras allow one such connection only. The comma-free `#name=value` form
# is go2rtc's own; it never reaches the camera.
_RTSP_OPTIONS = "#backchannel=0"
# An underscore cannot stand in a slug, so this is never a camera.
_PROBE_PREFIX = "probe_"
_PROBE_MAX_AGE_S = 120
# 5 s to dial and 5 s to describe, per go2rtc's own limits, and as much again for a second try.
_REASON_TIMEOUT_S = 21.0
_PROBE_THREADS = 4
_MEDIA_POLL_S = 0.15

_Streams = dict[str, dict[str, object]]

log = get_logger("media.go2rtc")


class Go2RtcGateway:
    """A MediaGateway. Close it with `aclose`."""

    def __init__(self, settings: GatewaySettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._control = GatewayControl(settings)
        self._changes = asyncio.Lock()
        self._applied: dict[str, str] = {}
        self._threads = ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="probe")

    async def ensure(self, name: str, url: SecretStr) -> bool:
        checked_name(name)
        camera = checked_source(url, self._settings)
        source = _source(camera)
        async with self._changes:
            present = (await self._streams()).get(name)
            if present is not None and self._pulls(name, present, source):
                return False
            await self._put(name, source)
        log.info("stream set", stream=name, source=camera.public, replaced=present is not None)
        return True

    async def remove(self, name: str) -> None:
        checked_name(name)
        await self._delete(name)
        log.info("stream removed", stream=name)

    async def names(self) -> set[str]:
        streams = await self._streams()
        await self._sweep(streams)
        return {name for name in streams if StreamName.parse(name)}

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        return rtsp_pull_url(self._settings, name, "?video&audio" if sound else "?video")

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        if isinstance(target, str):
            return await self._inspect(target)
        source = _source(checked_source(target, self._settings))
        name = f"{_PROBE_PREFIX}{self._clock.now_us() // 1_000_000}_{secrets.token_hex(4)}"
        async with self._changes:
            await self._put(name, source)
        try:
            return await self._inspect(name)
        finally:
            # Shielded: a caller who gives up must not leave the stream behind.
            await asyncio.shield(self._delete(name))

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._control.aclose()

    # ------------------------------------------------------------ streams

    async def _streams(self) -> _Streams:
        response = await self._control.request("GET", _PATH)
        if response.status_code != 200:
            raise self._control.misbehaved(response)
        return cast("_Streams", response.json())

    async def _put(self, name: str, source: str) -> None:
        params = {"name": name, "src": source}
        response = await self._control.request("PUT", _PATH, params=params)
        present = (await self._streams()).get(name)
        if present is None or not _shows(present, source):
            raise self._control.misbehaved(response)
        if response.status_code != 200:
            # It runs, but would be forgotten with a restart; the controller would set it again.
            log.warning(
                "gateway did not save the stream", stream=name, answer=response.text.strip()
            )
        self._applied[name] = source

    async def _delete(self, name: str) -> None:
        async with self._changes:
            self._applied.pop(name, None)
            response = await self._control.request("DELETE", _PATH, params={"src": name})
            if response.status_code != 200 and name in await self._streams():
                raise self._control.misbehaved(response)

    def _pulls(self, name: str, present: dict[str, object], source: str) -> bool:
        if source.startswith("rtmp"):
            # A running RTMP producer does not show its URL.
            return self._applied.get(name) == source or _shows(present, source)
        return _shows(present, source)

    async def _sweep(self, streams: _Streams) -> None:
        """Remove probes whose process died: go2rtc keeps them in its configuration file."""
        now_s = self._clock.now_us() // 1_000_000
        for name in streams:
            started = name.removeprefix(_PROBE_PREFIX).partition("_")[0]
            if (
                name.startswith(_PROBE_PREFIX)
                and started.isdecimal()
                and abs(now_s - int(started)) > _PROBE_MAX_AGE_S
            ):
                await self._delete(name)

    # ------------------------------------------------------------ probing

    async def _inspect(self, name: str) -> ProbeResult:
        loop = asyncio.get_running_loop()
        url = self.rtsp_url(name).get_secret_value()
        looking = loop.run_in_executor(self._threads, inspect_stream, url)
        audio: tuple[str, ...] = ()
        try:
            while not looking.done():
                await asyncio.wait({looking}, timeout=_MEDIA_POLL_S)
                # Only while somebody watches does go2rtc know what the camera offers.
                audio = audio or await self._audio(name)
            return replace(looking.result(), audio=audio)
        except UnreadableCameraError as seen:
            raise await self._reason(name, seen) from seen

    async def _audio(self, name: str) -> tuple[str, ...]:
        response = await self._control.request("GET", _PATH, params={"src": name})
        if response.status_code != 200:
            return ()
        producers = response.json().get("producers") or []
        medias = [media for producer in producers for media in producer.get("medias") or []]
        return audio_codecs(medias)

    async def _reason(
        self, name: str, seen: UnreadableCameraError
    ) -> UnreadableCameraError | UnknownThingError | UnavailableError:
        """Over RTSP go2rtc says 404 whatever the camera's trouble; its API has the words."""
        if seen.problem is CameraProblem.REFUSED:
            return UnavailableError(
                "The media gateway (go2rtc) does not answer on its RTSP port.",
                hint="Check that it runs and that gateway.rtsp_url is right.",
            )
        if seen.problem is CameraProblem.CREDENTIALS:
            return UnavailableError(
                "The media gateway (go2rtc) refuses our credentials on its RTSP port.",
                hint="Check gateway.username and gateway.password.",
            )
        response = await self._control.request(
            "GET",
            _PATH,
            params={"src": name, "video": ""},
            read_timeout_s=_REASON_TIMEOUT_S,
            attempts=1,
        )
        if response.status_code == 404:
            return UnknownThingError(f"The media gateway has no stream {name!r}.")
        if response.status_code == 500:
            return unreadable(response.text.strip())
        if seen.problem is CameraProblem.NOT_FOUND:
            # It failed a moment ago and works now.
            return UnreadableCameraError(CameraProblem.LOST)
        return seen


def _source(url: CameraUrl) -> str:
    """The camera's URL as go2rtc wants it, with its options."""
    if url.scheme in ("http", "https"):
        return url.encoded
    return url.with_port() + (_RTSP_OPTIONS if url.scheme.startswith("rtsp") else "")


def _shows(stream: dict[str, object], source: str) -> bool:
    """Whether the one producer that pulls is the one of `source`. A running one hides options."""
    producers = cast("list[dict[str, object]]", stream.get("producers") or [])
    urls = [str(producer["url"]).partition("#")[0] for producer in producers if producer.get("url")]
    return urls == [source.partition("#")[0]]


def audio_codecs(medias: list[str]) -> tuple[str, ...]:
    """Names of the codecs that a camera sends, from go2rtc's `audio, recvonly, PCMA/8000, …`."""
    fields = [media.split(", ") for media in medias]
    codecs = [
        codec.partition("/")[0]
        for parts in fields
        if parts[:2] == ["audio", "recvonly"]
        for codec in parts[2:]
    ]
    return tuple(dict.fromkeys(codecs))
