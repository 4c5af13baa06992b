"""Client for go2rtc 1.9: https://github.com/AlexxIT/go2rtc, read at v1.9.14.

Undocumented behaviour of its API, and the consequences here:

- `PUT /api/streams` answers 200 to any source, so a source is checked before and the result after.
  It answers 400 if only writing its configuration file fails, although the stream exists.
- Its modules for `exec:` and similar sources are not loaded (`cluster.local.servers`), and every
  source is a relay URL.
- `DELETE` modifies a map without a lock, so our changes are serialized.
- A stream that is replaced or removed while someone watches it stays alive, unlisted, until the
  last viewer disconnects; then its camera connection closes too.
- Its RTSP client supports TCP only (`#transport=` would name a WebSocket). Requesting audio on a
  stream whose video already plays opens a second camera connection, so everyone pulls `?video`
  only, except a bridge that records sound.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import cast

from pydantic import SecretStr

from cluster.core.aio import call_foreign
from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.media.control import GatewayControl
from cluster.media.errors import CameraProblem, UnreadableCameraError, unreadable
from cluster.media.gateway import ProbeResult, StreamName, checked_name
from cluster.media.inspection import inspect_stream
from cluster.media.sealing import GatewayKeys
from cluster.media.sources import GatewaySource, GatewaySources
from pipelines.clock import Clock, SystemClock
from pipelines.errors import NotFoundError, UnavailableError

_PATH = "/api/streams"
# No two-way audio: some cameras allow only one such connection. `#name=value` options are go2rtc's
# own and never reach the camera.
_RTSP_OPTIONS = "#backchannel=0"
# A slug contains no underscore, so this is never a camera.
_PROBE_PREFIX = "probe_"
_PROBE_MAX_AGE_S = 120
"""Seconds, longer than any probe takes; older ones belong to a dead process."""
# go2rtc allows 5 s to connect and 5 s for DESCRIBE; doubled for its second attempt, plus a margin.
_REASON_TIMEOUT_S = 21.0
_PROBE_THREADS = 4
"""As `cluster.controller.diagnosis.MAX_PROBES`."""
_MEDIA_POLL_S = 0.15
"""Several times within the second that an inspection takes (`inspection.INSPECT_S`)."""

_Streams = dict[str, dict[str, object]]

log = get_logger("media.go2rtc")


class Go2RtcGateway:
    """A MediaGateway. Close it with `aclose`."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        keys = GatewayKeys.of(settings)
        self._sources = GatewaySources(settings, keys)
        self._clock = clock or SystemClock()
        self._control = GatewayControl(settings, keys)
        self._changes = asyncio.Lock()
        self._applied: dict[str, str] = {}
        self._threads = ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="probe")

    async def ensure(self, name: str, url: SecretStr) -> bool:
        tenant = checked_name(name).key.tenant
        source = self._sources.of(url, tenant)
        on_gateway, wanted = self._sources.sealed_name(name), _wanted(source)
        async with self._changes:
            present = (await self._streams()).get(on_gateway)
            if present is not None and self._pulls(on_gateway, present, wanted):
                return False
            await self._put(on_gateway, wanted)
        log.info(
            "stream set", stream=name, source=source.camera.public, replaced=present is not None
        )
        return True

    async def remove(self, name: str) -> None:
        checked_name(name)
        await self._delete(self._sources.sealed_name(name))
        log.info("stream removed", stream=name)

    async def names(self) -> set[str]:
        streams = await self._streams()
        await self._sweep(streams)
        return {name for sealed in streams if (name := self._sources.name_of(sealed))}

    def rtsp_url(self, name: str, *, sound: bool = False) -> SecretStr:
        return self._pull_url(self._sources.sealed_name(name), sound=sound)

    def _pull_url(self, on_gateway: str, *, sound: bool = False) -> SecretStr:
        return self._sources.pull_url(on_gateway, "?video&audio" if sound else "?video")

    async def probe(self, target: SecretStr | str) -> ProbeResult:
        if isinstance(target, str):
            return await self._inspect(self._sources.sealed_name(target), target)
        source = self._sources.of(target, "")
        on_gateway = f"{_PROBE_PREFIX}{self._clock.now_us() // 1_000_000}_{secrets.token_hex(16)}"
        async with self._changes:
            await self._put(on_gateway, _wanted(source))
        try:
            return await self._inspect(on_gateway, on_gateway)
        finally:
            # Shielded: a cancelled caller must not leave the stream behind.
            await asyncio.shield(self._delete(on_gateway))

    async def why(self, name: str) -> UnreadableCameraError | None:
        checked_name(name)
        on_gateway = self._sources.sealed_name(name)
        stream = (await self._streams()).get(on_gateway)
        return await self._relays_reason(stream) if stream is not None else None

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._sources.aclose()
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
            # It works, but is lost on a restart; the controller then sets it again.
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
        """Remove leftovers from go2rtc's configuration file: probes whose process died, and streams
        from before version 0.2, whose names were guessable."""
        now_s = self._clock.now_us() // 1_000_000
        for name in streams:
            started = name.removeprefix(_PROBE_PREFIX).partition("_")[0]
            left = (
                name.startswith(_PROBE_PREFIX)
                and started.isdecimal()
                and abs(now_s - int(started)) > _PROBE_MAX_AGE_S
            )
            if left or StreamName.parse(name):
                await self._delete(name)

    # ------------------------------------------------------------ probing

    async def _inspect(self, on_gateway: str, name: str) -> ProbeResult:
        """Inspect a stream; `name` is used in error messages only."""
        loop = asyncio.get_running_loop()
        url = self._pull_url(on_gateway).get_secret_value()
        inspection = loop.run_in_executor(self._threads, call_foreign, partial(inspect_stream, url))
        audio: tuple[str, ...] = ()
        try:
            while not inspection.done():
                await asyncio.wait({inspection}, timeout=_MEDIA_POLL_S)
                # go2rtc knows what the camera offers only while someone watches.
                audio = audio or await self._audio(on_gateway)
            return replace(inspection.result(), audio=audio)
        except UnreadableCameraError as observed:
            raise await self._reason(on_gateway, name, observed) from observed

    async def _audio(self, name: str) -> tuple[str, ...]:
        response = await self._control.request("GET", _PATH, params={"src": name})
        if response.status_code != 200:
            return ()
        producers = response.json().get("producers") or []
        medias = [media for producer in producers for media in producer.get("medias") or []]
        return audio_codecs(medias)

    async def _reason(
        self, on_gateway: str, name: str, observed: UnreadableCameraError
    ) -> UnreadableCameraError | NotFoundError | UnavailableError:
        """The actual cause: over RTSP go2rtc answers 404 to any camera problem. The relay knows the
        cause; for problems that it did not see, go2rtc's API has an error message."""
        if observed.problem is CameraProblem.REFUSED:
            return UnavailableError(
                "The media gateway (go2rtc) does not answer on its RTSP port.",
                hint="Check that it runs and that gateway.rtsp_url is right.",
            )
        if observed.problem is CameraProblem.CREDENTIALS:
            return UnavailableError(
                "The media gateway (go2rtc) refuses our credentials on its RTSP port.",
                hint="Check gateway.username and gateway.password.",
            )
        stream = (await self._streams()).get(on_gateway)
        if stream is None:
            return NotFoundError(f"The media gateway has no stream {name!r}.")
        if known := await self._relays_reason(stream):
            return known
        return await self._gateway_reason(on_gateway, name, observed)

    async def _relays_reason(self, stream: dict[str, object]) -> UnreadableCameraError | None:
        for url in _urls(stream):
            if known := await self._sources.why(url):
                return known
        return None

    async def _gateway_reason(
        self, on_gateway: str, name: str, observed: UnreadableCameraError
    ) -> UnreadableCameraError | NotFoundError:
        response = await self._control.request(
            "GET",
            _PATH,
            params={"src": on_gateway, "video": ""},
            read_timeout_s=_REASON_TIMEOUT_S,
            attempts=1,
        )
        if response.status_code == 404:
            return NotFoundError(f"The media gateway has no stream {name!r}.")
        if response.status_code == 500:
            return unreadable(response.text.strip())
        if observed.problem is CameraProblem.NOT_FOUND:
            # It failed a moment ago and works again.
            return UnreadableCameraError(CameraProblem.LOST)
        return observed


def _wanted(source: GatewaySource) -> str:
    """A source in go2rtc's format, with its options."""
    return source.url + (_RTSP_OPTIONS if source.scheme == "rtsp" else "")


def _urls(stream: dict[str, object]) -> list[str]:
    """The URLs that a stream's producers pull. Running producers do not show options."""
    producers = cast("list[dict[str, object]]", stream.get("producers") or [])
    return [str(producer["url"]).partition("#")[0] for producer in producers if producer.get("url")]


def _shows(stream: dict[str, object], source: str) -> bool:
    """Whether the stream has exactly one producer, which pulls `source`."""
    return _urls(stream) == [source.partition("#")[0]]


def audio_codecs(medias: list[str]) -> tuple[str, ...]:
    """The audio codecs that a camera sends, from go2rtc's `audio, recvonly, PCMA/8000, …`."""
    fields = [media.split(", ") for media in medias]
    codecs = [
        codec.partition("/")[0]
        for parts in fields
        if parts[:2] == ["audio", "recvonly"]
        for codec in parts[2:]
    ]
    return tuple(dict.fromkeys(codecs))
