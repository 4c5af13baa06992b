"""An RTSP server that plays clips as cameras.

go2rtc could loop a file too, but it lets every client on loopback in without a password
(`internal/rtsp/rtsp.go`, v1.9.9), and the demo's cameras must behave like any camera, password
included. It also restarts its source at will. This server always knows which frame it shows, and
tests rely on that.

Supported: RTSP 1.0 over TCP with interleaved RTP (RFC 2326), digest authentication (RFC 2617). A
camera's time runs on whether or not a client is connected, as on a real camera.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from cluster.core.log import get_logger
from cluster.demo.rtp import CLOCK_HZ, PAYLOAD_TYPE, Clip, Packetizer
from pipelines.clock import Clock, SystemClock

log = get_logger(__name__)

_REALM = "Atalaia demo camera"
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, SET_PARAMETER, TEARDOWN"
_SESSION_TIMEOUT_S = 60  # RFC 2326's default, announced explicitly
# Bytes. Far above any real RTSP request, and small enough to hold for every client.
_MAX_HEAD, _MAX_BODY = 16_384, 65_536
# Three seconds of the busiest clip. A client further behind will not catch up: cameras disconnect
# it, and so do we, instead of growing a buffer.
_MAX_UNSENT = 512 * 1024
_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
    454: "Session Not Found", 461: "Unsupported Transport", 501: "Not Implemented",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Channel:
    """One camera of the server.

    Attributes:
        name: first part of its URL path.
    """

    name: str
    clip: Clip
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]

    @property
    def channel(self) -> str:
        """First part of the path: `rtsp://host/gate/trackID=0` belongs to channel `gate`.

        Raises:
            BadRequest: the URL is malformed.
        """
        try:
            path = urlsplit(self.url).path
        except ValueError as error:
            raise BadRequest("no URL") from error
        return unquote(path).strip("/").split("/")[0]


class BadRequest(Exception):
    """The client does not speak valid RTSP. Its connection is closed."""


class CameraServer:
    """Plays its channels until closed. Belongs to the event loop that starts it.

    Args:
        channels: cameras with distinct names.
        host: address to listen on.
        port: 0 for a free one.

    Raises:
        ValueError: two channels have the same name.
    """

    def __init__(
        self,
        channels: tuple[Channel, ...],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._channels = {c.name: c for c in channels}
        if len(self._channels) != len(channels):
            raise ValueError("two demo cameras have the same name")
        self._host, self._port = host, port
        self._clock = clock or SystemClock()
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._offline: set[str] = set()
        self._epoch = 0.0
        self.started_us = 0
        """UTC microseconds at which every camera showed the first frame of its clip."""

    @property
    def port(self) -> int:
        """The port in use; before `start`, the requested one."""
        return self._port

    async def start(self) -> None:
        """Start listening. Raises OSError if the port is taken."""
        self._epoch, self.started_us = self._clock.monotonic(), self._clock.now_us()
        self._server = await asyncio.start_server(
            self._accept, self._host, self._port, limit=_MAX_HEAD
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening and disconnect all clients. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self.disconnect()
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    def disconnect(self, name: str | None = None) -> None:
        """Break the connections of one camera, or of all, as a bad cable would."""
        for connection in list(self._connections):
            if name is None or connection.channel == name:
                connection.abort()

    def set_online(self, name: str, online: bool) -> None:
        """Connect a camera to the network, or disconnect it: clients are dropped, new ones get 404.

        Raises:
            KeyError: there is no such camera.
        """
        if name not in self._channels:
            raise KeyError(name)
        if online:
            self._offline.discard(name)
        else:
            self._offline.add(name)
            self.disconnect(name)

    def watched(self, name: str) -> int:
        """Number of connections that play a camera now."""
        return sum(c.channel == name and c.playing for c in self._connections)

    def find(self, name: str) -> Channel | None:
        """The camera of that name, if it is online."""
        return None if name in self._offline else self._channels.get(name)

    def elapsed_s(self) -> float:
        """Seconds since the cameras were started."""
        return self._clock.monotonic() - self._epoch

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        task = asyncio.create_task(connection.run())
        self._connections[connection] = task
        task.add_done_callback(lambda _: self._connections.pop(connection, None))


class _Connection:
    """One client: requests in, responses and interleaved RTP out."""

    def __init__(
        self, server: CameraServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._nonce = secrets.token_hex(16)
        self._session = secrets.token_hex(8)
        self._rtp_channel: int | None = None
        self._sender: asyncio.Task[None] | None = None
        self.channel = ""

    @property
    def playing(self) -> bool:
        """Whether frames are being sent."""
        return self._sender is not None and not self._sender.done()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._writer.transport.abort()

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        try:
            while (request := await self._read()) is not None:
                if not self._handle(request):
                    break
                await self._writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, BadRequest) as error:
            log.debug("demo camera lost a viewer", camera=self.channel, reason=repr(error))
        finally:
            if self._sender is not None:
                self._sender.cancel()
                await asyncio.gather(self._sender, return_exceptions=True)
            self._writer.close()

    # -- requests

    async def _read(self) -> _Request | None:
        """The next request; None at the end. Skips interleaved data from the client (RTCP)."""
        while (first := await self._reader.read(1)) == b"$":
            _, length = struct.unpack(">BH", await self._reader.readexactly(3))
            await self._reader.readexactly(length)
        if not first:
            return None
        try:
            head = first + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise BadRequest("endless header") from error
        lines = head.decode("utf-8", "replace").strip().split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("RTSP/"):
            raise BadRequest("no RTSP request line")
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length_text = headers.get("content-length", "0")
        if not length_text.isdigit() or int(length_text) > _MAX_BODY:
            raise BadRequest("unusable content length")
        await self._reader.readexactly(int(length_text))
        return _Request(parts[0], parts[1], headers)

    def _handle(self, request: _Request) -> bool:
        """Answer one request. Returns whether to keep the connection."""
        if request.method == "OPTIONS":
            self._respond(request, 200, {"Public": _METHODS})
            return True
        channel = self._server.find(request.channel)
        if channel is None:
            self._respond(request, 404)
            return True
        if not self._authorized(request, channel):
            challenge = f'Digest realm="{_REALM}", nonce="{self._nonce}"'
            self._respond(request, 401, {"WWW-Authenticate": challenge})
            return True
        self.channel = channel.name
        match request.method:
            case "DESCRIBE":
                self._describe(request, channel)
            case "SETUP":
                self._setup(request)
            case "PLAY":
                self._play(request, channel)
            case "GET_PARAMETER" | "SET_PARAMETER":
                self._respond(request, 200, {"Session": self._session})
            case "TEARDOWN":
                self._respond(request, 200, {"Session": self._session})
                return False
            case _:
                self._respond(request, 501, {"Public": _METHODS})
        return True

    def _describe(self, request: _Request, channel: Channel) -> None:
        clip = channel.clip
        sdp = "\r\n".join(
            (
                "v=0",
                "o=- 0 0 IN IP4 127.0.0.1",
                f"s={channel.name}",
                "c=IN IP4 0.0.0.0",
                "t=0 0",
                f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
                f"a=rtpmap:{PAYLOAD_TYPE} {clip.encoding}/{CLOCK_HZ}",
                f"a=fmtp:{PAYLOAD_TYPE} {clip.format_parameters()}",
                f"a=framerate:{float(clip.fps):g}",
                "a=control:trackID=0",
                "",
            )
        )
        base = request.url.rstrip("/") + "/"
        headers = {"Content-Base": base, "Content-Type": "application/sdp"}
        self._respond(request, 200, headers, sdp)

    def _setup(self, request: _Request) -> None:
        transport = request.headers.get("transport", "")
        if "RTP/AVP/TCP" not in transport:
            self._respond(request, 461)
            return
        asked = re.search(r"interleaved=(\d{1,3})", transport)
        rtp = min(int(asked[1]), 254) if asked else 0
        self._rtp_channel = rtp
        self._respond(
            request,
            200,
            {
                "Transport": f"RTP/AVP/TCP;unicast;interleaved={rtp}-{rtp + 1}",
                "Session": f"{self._session};timeout={_SESSION_TIMEOUT_S}",
            },
        )

    def _play(self, request: _Request, channel: Channel) -> None:
        if self._rtp_channel is None:
            self._respond(request, 454)
            return
        clip = channel.clip
        number = clip.next_key(int(self._server.elapsed_s() * clip.fps) + 1)
        packetizer = Packetizer(clip, secrets.randbits(32), secrets.randbits(16))
        track = f"{request.url.rstrip('/')}/trackID=0"
        info = f"url={track};seq={packetizer.sequence};rtptime={clip.timestamp(number)}"
        headers = {"Session": self._session, "Range": "npt=now-", "RTP-Info": info}
        self._respond(request, 200, headers)
        if not self.playing:
            self._sender = asyncio.create_task(
                self._send(clip, packetizer, number, self._rtp_channel)
            )

    def _respond(
        self,
        request: _Request,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> None:
        fields = {"CSeq": request.headers.get("cseq", "0"), **(headers or {})}
        payload = body.encode()
        if payload:
            fields["Content-Length"] = str(len(payload))
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", *(f"{k}: {v}" for k, v in fields.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + payload)

    # -- authentication

    def _authorized(self, request: _Request, channel: Channel) -> bool:
        kind, _, rest = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "digest":
            return False
        given = {k: quoted or plain for k, quoted, plain in _DIGEST_FIELD.findall(rest)}
        if given.get("nonce") != self._nonce or given.get("username") != channel.username:
            return False
        who = _md5(f"{channel.username}:{_REALM}:{channel.password}")
        what = _md5(f"{request.method}:{given.get('uri', '')}")
        expected = _md5(f"{who}:{self._nonce}:{what}")
        return hmac.compare_digest(expected, given.get("response", ""))

    # -- frames

    async def _send(self, clip: Clip, packetizer: Packetizer, number: int, channel: int) -> None:
        """Send each frame when it is due, until cancelled or disconnected."""
        while True:
            due_s = float(number / clip.fps)
            await asyncio.sleep(max(0.0, due_s - self._server.elapsed_s()))
            if self._writer.transport.get_write_buffer_size() > _MAX_UNSENT:
                log.warning("demo camera disconnects a slow client", camera=self.channel)
                self.abort()
                return
            self._writer.write(
                b"".join(
                    struct.pack(">BBH", 0x24, channel, len(packet)) + packet
                    for packet in packetizer.packets(number)
                )
            )
            number += 1


# Anchored at the start of a word, so that a long word without `=` is scanned only once.
_DIGEST_FIELD = re.compile(r'(?<!\w)(\w++)=(?:"([^"]*)"|([^\s,]+))')


def _md5(text: str) -> str:
    # RFC 2617 requires MD5, and cameras use it.
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
