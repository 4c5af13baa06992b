"""Checks a camera for an installer: everything that the product does with it, item by item.

It needs no running cluster. A relay of its own, in this process, connects to the camera by the same
rules; what goes wrong has the relay's reason, as a camera's state would.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from cluster.core.aio import call_foreign
from cluster.core.settings import Settings
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.gateway import ProbeResult
from cluster.media.inspection import inspect_stream
from cluster.media.resolution import CameraAddresses, own_services
from cluster.media.sealing import sources_seal
from cluster.media.target import Target, relay_url, seal_target
from cluster.media.urls import CameraUrl
from cluster.relay.dialling import dial
from cluster.relay.messages import Message, Packets, ProtocolError
from cluster.relay.rtp_watch import RtpReport, RtpWatch
from cluster.relay.rtsp import READ_SIZE, Wire
from cluster.relay.server import RelayConfig, RelayServer
from cluster.relay.showing import look_at
from cluster.relay.verdicts import (
    Finding,
    fine,
    of_failure,
    of_format,
    of_packets,
    of_sight,
    of_substream,
    warn,
)
from pipelines.clock import Clock, SystemClock

ANSWER_TIMEOUT_S = 15.0
"""For one response; the relay gives the camera 5 s to connect and 5 s to answer."""
LOOPBACK = "127.0.0.1"
LOOK_S = 5.0
"""How long the picture is looked at: a few key frames."""

_RTPMAP = re.compile(r"a=rtpmap:\d{1,3} ([\w.-]{1,40})/")


@dataclass(frozen=True, slots=True)
class Description:
    """What an SDP says of the tracks.

    Attributes:
        encoding, control: of the first video track; empty if there is none.
        video, audio: number of tracks.
    """

    encoding: str
    control: str
    video: int
    audio: int

    @classmethod
    def parse(cls, sdp: str) -> Description:
        kinds: list[str] = []
        encoding = control = ""
        for line in sdp.splitlines():
            if line.startswith("m="):
                kinds.append(line[2:].partition(" ")[0])
                if kinds[-1] == "video" and not encoding and line.split()[3:4] == ["26"]:
                    encoding = "JPEG"  # static payload type (RFC 3551)
            elif kinds[-1:] == ["video"] and kinds.count("video") == 1:
                if found := _RTPMAP.match(line):
                    encoding = encoding or found[1].upper()
                elif line.startswith("a=control:"):
                    control = control or line.removeprefix("a=control:").strip()
        return cls(encoding, control, kinds.count("video"), kinds.count("audio"))


class Checkup:
    """Checks cameras through a relay of its own. Open it with `opened`."""

    def __init__(self, server: RelayServer, config: RelayConfig, addresses: CameraAddresses):
        self._server = server
        self._config = config
        self._seal = sources_seal(config.secret.get_secret_value())
        self._addresses = addresses
        self._clock: Clock = SystemClock()

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator[Checkup]:
        """With the addresses that `gateway.allow` and `gateway.deny` permit."""
        port = _free_port()
        config = RelayConfig(
            bind=LOOPBACK,
            port=port,
            url=f"tcp://{LOOPBACK}:{port}",
            secret=SecretStr(secrets.token_hex(32)),
            allow=settings.gateway.allow,
            deny=settings.gateway.deny,
            services=own_services(settings),
        )
        addresses = CameraAddresses(settings.gateway.policy, config.services)
        server = RelayServer(config, addresses)
        await server.start()
        try:
            yield cls(server, config, addresses)
        finally:
            await server.aclose()

    async def camera(
        self, url: CameraUrl, sub: CameraUrl | None, watch_s: float
    ) -> AsyncIterator[Finding]:
        """The findings, as they are made. Ends early where nothing more can be found.

        Args:
            watch_s: how long the packets of an RTSP camera are watched.
        """
        main: ProbeResult | None = None
        at = "reach"
        try:
            yield await self._reach(url)
            if url.scheme.startswith("rtsp"):
                at = "description"
                description = await self._describe(url)
                for finding in _described(url, description):
                    yield finding
                if not description.video:
                    return
            at = "codec"
            main = await self._inspect(url)
            for finding in of_format(main):
                yield finding
            at = "picture"
            yield await self._look(url, min(watch_s, LOOK_S))
            at = "stream"
            if url.scheme.startswith("rtsp"):
                report = await self._watch(url, description, watch_s)
                for finding in of_packets(report, description.encoding):
                    yield finding
        except UnreadableCameraError as error:
            yield of_failure(error, at)
        if sub is not None:
            yield await self._substream(sub, main)

    # ------------------------------------------------------------ items

    async def _reach(self, url: CameraUrl) -> Finding:
        began_s = self._clock.monotonic()
        _, writer = await dial(Target("", url), self._addresses, limit=READ_SIZE)
        took_ms = (self._clock.monotonic() - began_s) * 1000
        writer.transport.abort()
        return fine("reach", f"{url.authority} answers in {took_ms:.0f} ms")

    async def _substream(self, url: CameraUrl, main: ProbeResult | None) -> Finding:
        try:
            return of_substream(main, await self._inspect(url))
        except UnreadableCameraError as error:
            failed = of_failure(error, "sub-stream")
            return Finding("sub-stream", failed.verdict, failed.detail, failed.hint)

    async def _inspect(self, url: CameraUrl) -> ProbeResult:
        """As the gateway's probe; the relay's reason if it fails."""
        try:
            return await asyncio.to_thread(call_foreign, lambda: inspect_stream(self._relayed(url)))
        except UnreadableCameraError as error:
            raise self._known(url) or error from error

    async def _look(self, url: CameraUrl, seconds: float) -> Finding:
        relayed = self._relayed(url)
        try:
            fault = await asyncio.to_thread(call_foreign, lambda: look_at(relayed, seconds))
        except UnreadableCameraError as error:
            raise self._known(url) or error from error
        return of_sight(fault, seconds)

    async def _describe(self, url: CameraUrl) -> Description:
        async with self._session(url) as session:
            return await session.describe()

    async def _watch(self, url: CameraUrl, description: Description, watch_s: float) -> RtpReport:
        async with self._session(url) as session:
            await session.describe()
            await session.play(description.control)
            return await session.watch(RtpWatch(description.encoding), self._clock, watch_s)

    @asynccontextmanager
    async def _session(self, url: CameraUrl) -> AsyncIterator[RtspClient]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._config.port)
        try:
            yield RtspClient(self._relayed(url), Wire(reader, writer))
        except ProtocolError as error:
            known = self._known(url)
            raise known or UnreadableCameraError(CameraProblem.UNSUPPORTED, str(error)) from error
        except (OSError, TimeoutError) as error:
            known = self._known(url)
            raise known or UnreadableCameraError(CameraProblem.LOST, repr(error)) from error
        finally:
            writer.transport.abort()

    def _relayed(self, url: CameraUrl) -> str:
        target = Target("", url)
        return relay_url(self._config.url, target, seal_target(self._seal, target))

    def _known(self, url: CameraUrl) -> UnreadableCameraError | None:
        return self._server.why(seal_target(self._seal, Target("", url)))


class RtspClient:
    """A client's session at the relay, in RTSP.

    Its methods raise ProtocolError, OSError or TimeoutError; the relay knows why.
    """

    def __init__(self, url: str, wire: Wire) -> None:
        self.url = url
        self._wire = wire
        self._number = 0
        self._session = ""

    async def describe(self) -> Description:
        await self.ask("OPTIONS", self.url)
        response = await self.ask("DESCRIBE", self.url, Accept="application/sdp")
        return Description.parse(response.body.decode("utf-8", "replace"))

    async def play(self, control: str) -> None:
        """Play the track with this control attribute, on channels 0 and 1."""
        try:
            absolute = bool(urlsplit(control).scheme)
        except ValueError:
            raise ProtocolError("the track's address is not a URL") from None
        track = control if absolute else f"{self.url}/{control.lstrip('/')}"
        transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
        response = await self.ask("SETUP", track, Transport=transport)
        self._session = (response.get("Session") or "").partition(";")[0]
        await self.ask("PLAY", self.url, Session=self._session, Range="npt=0.000-")

    async def watch(self, watch: RtpWatch, clock: Clock, watch_s: float) -> RtpReport:
        """What comes in that time."""
        until_s = asyncio.get_running_loop().time() + watch_s
        try:
            async with asyncio.timeout_at(until_s):
                while (item := await self._wire.next()) is not None:
                    if isinstance(item, Packets):
                        _take(item, watch, clock)
        except TimeoutError:
            return watch.report()
        raise ConnectionResetError("the stream ended")

    async def ask(self, method: str, uri: str, **headers: str) -> Message:
        """The answer to one request, of status 200."""
        self._number += 1
        pairs = (("CSeq", str(self._number)), *headers.items())
        request = Message(f"{method} {uri} RTSP/1.0", pairs)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._wire.send(request.encode())
            while True:
                item = await self._wire.next()
                if item is None:
                    raise ConnectionResetError(f"no answer to {method}")
                if isinstance(item, Packets) or not item.is_response:
                    continue
                if item.status != 200:
                    raise ProtocolError(f"{method}: {item.status}")
                return item


def _take(packets: Packets, watch: RtpWatch, clock: Clock) -> None:
    data, at = packets.data, 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == 0:
            watch.rtp(data[at + 4 : end], clock.monotonic())
        elif data[at + 1] == 1:
            watch.rtcp(data[at + 4 : end], clock.now_us())
        at = end


def _described(url: CameraUrl, description: Description) -> list[Finding]:
    if url.username:
        sign_in = fine("sign-in", "accepted")
    else:
        sign_in = warn(
            "sign-in",
            "the camera asks for no password",
            "Whoever reaches its network can watch it: set a password in the camera.",
        )
    if not description.video:
        return [sign_in, of_failure(UnreadableCameraError(CameraProblem.NO_VIDEO), "description")]
    detail = f"{description.encoding or 'unknown'} video" + (", sound" if description.audio else "")
    if description.video == 1:
        return [sign_in, fine("description", detail)]
    more = warn(
        "description",
        f"{description.video} video tracks; the first one is used",
        "If it is the wrong one, choose another URL of the camera.",
    )
    return [sign_in, more]


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as found:
        return int(found.getsockname()[1])
