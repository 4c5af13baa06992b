"""Relays one RTSP connection of a gateway to its camera.

Until the camera plays, requests and responses alternate; then packets flow both ways. Requests from
the gateway name the relay's URL, which is replaced with the camera's own. The relay adds
authentication and follows redirects that the policy permits. It forwards only the response headers
that a client needs, so a response cannot direct the gateway elsewhere. A keep-alive of the gateway
becomes a GET_PARAMETER where the camera knows it: some end a session in spite of OPTIONS.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from cluster.core.aio import until_first_ends
from cluster.core.log import get_logger
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.resolution import CameraAddresses
from cluster.media.sealing import Seal
from cluster.media.target import Target, open_target
from cluster.media.urls import CameraUrl, parse_camera_url
from cluster.relay.authentication import Login, parse_challenges
from cluster.relay.description import one_format
from cluster.relay.dialling import dial_when_due
from cluster.relay.failures import Failures
from cluster.relay.messages import Framer, Message, Packets, ProtocolError
from cluster.relay.redirects import MAX_REDIRECTS, REDIRECTS, led_to
from cluster.relay.refusals import Account, Refusals
from pipelines.errors import InputError

log = get_logger("relay.rtsp")

ANSWER_TIMEOUT_S = 5.0
"""For one response; go2rtc allows a camera the same (pkg/rtsp/client.go, v1.9.14)."""
IDLE_TIMEOUT_S = 60.0
"""For a request of the gateway; it sends them at once."""
SILENT_AFTER_S = 8.0
"""Without media a camera counts as silent. Gateways give up after 5 to 10 s."""
GIVEN_UP_AFTER_S = 4.0
"""The same where the gateway closes the connection before. Shorter ones were not for waiting."""
READ_SIZE = 64 * 1024
"""Bytes per read."""
MAX_DETAIL = 200
"""Characters of a camera's message that are kept."""
MAX_PENDING = 16
"""Unanswered requests while playing; clients send a keep-alive every 20 to 60 s."""

_KEPT_HEADERS = ("Session", "Transport", "Content-Type", "Range", "RTP-Info", "Public", "Date")
_CONTENT_BASE = re.compile(r"rtsps?://[^\s]+")
_STATUS = {
    CameraProblem.CREDENTIALS: "401 Unauthorized",
    CameraProblem.SIGN_IN: "401 Unauthorized",
    CameraProblem.NOT_FOUND: "404 Not Found",
    CameraProblem.NOT_ALLOWED: "403 Forbidden",
    CameraProblem.LED_AWAY: "403 Forbidden",
}
_OTHER_STATUS = "503 Service Unavailable"


class Wire:
    """One connection of the relay, read as RTSP messages and packets."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b""
    ) -> None:
        self._reader, self.writer = reader, writer
        self._framer = Framer()
        self._items = self._framer.feed(first)

    async def next(self) -> Packets | Message | None:
        """The next message or run of packets; None at the end of the connection.

        Raises:
            ProtocolError: the peer does not speak RTSP or exceeds a limit.
            OSError: the connection was lost.
        """
        while (item := next(self._items, None)) is None:
            data = await self._reader.read(READ_SIZE)
            if not data:
                return None
            self._items = self._framer.feed(data)
            # More data may already be buffered: let other connections run.
            await asyncio.sleep(0)
        return item

    async def send(self, data: bytes) -> None:
        """Send with back-pressure: waits while the peer is slow. Raises OSError."""
        self.writer.write(data)
        await self.writer.drain()

    def abort(self) -> None:
        self.writer.transport.abort()


@dataclass(slots=True)
class _Pending:
    """A request that the camera has not answered; `number` is the gateway's CSeq."""

    request: Message
    number: str


class RtspRelay:
    """Serves one connection of a gateway until either side ends it."""

    def __init__(
        self,
        gateway: Wire,
        seal: Seal,
        addresses: CameraAddresses,
        failures: Failures,
        refusals: Refusals,
    ) -> None:
        self._gateway = gateway
        self._seal = seal
        self._addresses = addresses
        self._failures = failures
        self._refusals = refusals
        self._camera: Wire | None = None
        self._target: Target | None = None
        self._account: Account | None = None
        self._sealed = self._tenant = ""
        self._described = self._decided = False
        self._base = ""
        self._login = Login("", "")
        self._sequence = 0
        self._pending: dict[str, _Pending] = {}
        self._has_media = False
        self._ends = False
        self._session = ""
        self._knows_get_parameter = False

    async def run(self) -> None:
        """Relay until either side closes the connection.

        Raises:
            ProtocolError: a side violates the protocol.
            OSError: a connection was lost; TimeoutError: a side was idle for too long.
        """
        try:
            if await self._negotiate():
                await self._stream()
        finally:
            if self._camera is not None:
                self._camera.abort()
            if self._described and self._account is not None and not self._decided:
                # It was looked at, and left before anything was decided.
                self._refusals.untried(self._account)

    # ------------------------------------------------------------ before PLAY

    async def _negotiate(self) -> bool:
        """Handle requests until the camera plays. Returns whether it does."""
        while True:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                item = await self._gateway.next()
            if item is None:
                return False
            if isinstance(item, Packets) or item.is_response:
                continue
            try:
                response = await self._answer(item)
            except UnreadableCameraError as error:
                self._fail(error)
                status = _STATUS.get(error.problem, _OTHER_STATUS)
                await self._gateway.send(_reply(item, status).encode())
                return False
            await self._gateway.send(response.encode())
            if response.status == 200 and item.method == "DESCRIBE":
                self._described = True
                # What it failed with before is over, but for silence, which begins after this.
                self._failures.forget(self._sealed, but=CameraProblem.SILENT)
            if response.status == 200 and item.method == "PLAY":
                self._let_in()
                return True
            if item.method == "TEARDOWN":
                return False

    def _let_in(self) -> None:
        """Not before PLAY: some cameras describe themselves to everybody, and refuse what follows.
        One that has not asked for a password until now said nothing about it."""
        assert self._account is not None
        self._decided = True
        if self._login.signed:
            self._refusals.accepted(self._account)
        else:
            self._refusals.untried(self._account)

    def _fail(self, error: UnreadableCameraError) -> None:
        self._failures.add(self._sealed, self._tenant, error)

    async def _answer(self, request: Message) -> Message:
        """The camera's response, filtered for the gateway.

        Raises:
            UnreadableCameraError: the camera cannot be reached or refuses the request.
        """
        if self._camera is None and not await self._open(request):
            return _reply(request, "404 Not Found")
        # Each host on the redirect path may require authentication first.
        for _ in range(2 * (1 + MAX_REDIRECTS)):
            response = await self._exchange(request)
            if response.status == 401 and self._accepts(response):
                continue
            if response.status in REDIRECTS:
                await self._follow(response)
                continue
            break
        return self._result(request, response)

    def _result(self, request: Message, response: Message) -> Message:
        status = response.status
        if status in (401, 403, 407):
            raise self._refusal(response)
        if status in REDIRECTS:
            raise UnreadableCameraError(CameraProblem.UNSUPPORTED, "too many redirects")
        if request.method == "OPTIONS":
            self._knows_get_parameter = "GET_PARAMETER" in (response.get("Public") or "").upper()
        elif request.method == "SETUP":
            self._session = (response.get("Session") or "").partition(";")[0].strip()
        elif request.method == "DESCRIBE":
            if status != 200:
                raise UnreadableCameraError(CameraProblem.NOT_FOUND, f"status {status}")
            base = response.get("Content-Base") or ""
            if _CONTENT_BASE.fullmatch(base):
                self._base = base
            response = replace(response, body=one_format(response.body))
        return _cleaned(response, request.get("CSeq") or "0")

    def _refusal(self, response: Message) -> UnreadableCameraError:
        offered = response.all("WWW-Authenticate")
        if response.status == 401 and offered and not parse_challenges(offered):
            return UnreadableCameraError(CameraProblem.SIGN_IN, "; ".join(offered)[:MAX_DETAIL])
        assert self._account is not None
        self._decided = True
        self._refusals.refused(self._account)
        return UnreadableCameraError(CameraProblem.CREDENTIALS, str(response.status))

    async def _open(self, request: Message) -> bool:
        """Connect to the camera of a request's sealed URL. Returns False if the URL is not ours."""
        sealed = _sealed_of(request.uri)
        target = open_target(self._seal, sealed)
        if target is None or target.url.scheme not in ("rtsp", "rtsps"):
            return False
        self._sealed, self._tenant = sealed, target.tenant
        await self._connect(target)
        return True

    async def _connect(self, target: Target) -> None:
        (reader, writer), self._account = await dial_when_due(
            target, self._addresses, self._refusals, self._account, limit=READ_SIZE
        )
        if self._camera is not None:
            self._camera.abort()
        self._camera, self._target = Wire(reader, writer), target
        self._base = _bare(target.url)
        self._login = Login(target.url.username, target.url.password or "")

    async def _follow(self, response: Message) -> None:
        assert self._target is not None
        try:
            url = parse_camera_url(response.get("Location") or "")
        except InputError as error:
            raise UnreadableCameraError(CameraProblem.UNSUPPORTED, error.message) from error
        if url.scheme not in ("rtsp", "rtsps"):
            raise UnreadableCameraError(CameraProblem.UNSUPPORTED, f"redirect to {url.scheme}")
        try:
            await self._connect(led_to(self._target, url))
        except UnreadableCameraError as error:
            if error.problem is not CameraProblem.NOT_ALLOWED:
                raise
            raise UnreadableCameraError(CameraProblem.LED_AWAY, url.public) from error

    def _accepts(self, response: Message) -> bool:
        return self._login.accept(parse_challenges(response.all("WWW-Authenticate")))

    async def _exchange(self, request: Message) -> Message:
        """Send a request and wait for its response; forwards packets that arrive meanwhile."""
        camera = self._camera
        assert camera is not None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._send(request)
                while True:
                    item = await camera.next()
                    if item is None:
                        raise UnreadableCameraError(CameraProblem.LOST)
                    if isinstance(item, Packets):
                        await self._gateway.send(item.data)
                    elif not item.is_response:
                        await self._refuse(item)
                    elif item.status >= 200:
                        # Only one request is open, so this answers it, whatever its CSeq.
                        self._pending.clear()
                        return item
        except TimeoutError:
            raise UnreadableCameraError(CameraProblem.TIMEOUT, request.method) from None
        except ProtocolError as error:
            raise UnreadableCameraError(CameraProblem.UNSUPPORTED, str(error)) from error
        except OSError as error:
            raise UnreadableCameraError(CameraProblem.LOST, str(error)) from error

    # ------------------------------------------------------------ while playing

    async def _stream(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            await until_first_ends(self._to_camera(), self._to_gateway())
            if not self._has_media and loop.time() - began_s >= GIVEN_UP_AFTER_S:
                raise UnreadableCameraError(CameraProblem.SILENT, "the gateway gave up")
        except UnreadableCameraError as error:
            self._fail(error)

    async def _to_camera(self) -> None:
        camera = self._camera
        assert camera is not None
        while (item := await self._gateway.next()) is not None:
            if isinstance(item, Packets):
                await camera.send(item.data)
            elif not item.is_response:
                if len(self._pending) >= MAX_PENDING:
                    raise ProtocolError("the camera stopped answering requests")
                self._ends = self._ends or item.method == "TEARDOWN"
                await self._send(self._keep_alive(item) if item.method == "OPTIONS" else item)

    def _keep_alive(self, options: Message) -> Message:
        """What keeps the camera's session alive, in the place of an OPTIONS."""
        if not self._knows_get_parameter or not self._session:
            return options
        request = Message(f"GET_PARAMETER {options.uri} RTSP/1.0", options.headers)
        return request.with_headers({"Session": self._session})

    async def _to_gateway(self) -> None:
        """Raises UnreadableCameraError if the camera ends the connection or stops sending."""
        camera, loop = self._camera, asyncio.get_running_loop()
        assert camera is not None
        deadline_s = loop.time() + SILENT_AFTER_S
        while True:
            try:
                async with asyncio.timeout_at(deadline_s):
                    item = await camera.next()
            except TimeoutError:
                raise UnreadableCameraError(CameraProblem.SILENT) from None
            if item is None and self._ends:
                return
            if item is None:
                raise UnreadableCameraError(CameraProblem.LOST)
            if isinstance(item, Packets):
                await self._gateway.send(item.data)
                if item.has_media:
                    self._note_media()
                    # Later than the send, which waits for a slow gateway.
                    deadline_s = loop.time() + SILENT_AFTER_S
            elif not item.is_response:
                await self._refuse(item)
            else:
                await self._forward_response(item)

    def _note_media(self) -> None:
        if not self._has_media:
            self._has_media = True
            self._failures.forget(self._sealed)

    async def _forward_response(self, response: Message) -> None:
        """Forward the response to a request that was sent while playing."""
        pending = self._pending.pop(self._number_of(response), None)
        if pending is None or response.status < 200:
            return
        if pending.request.method == "GET_PARAMETER" and response.status not in (200, 401):
            self._knows_get_parameter = False  # it only said so
        if response.status == 401 and self._accepts(response):
            await self._send(pending.request)
            return
        if response.status in REDIRECTS:
            response = Message("RTSP/1.0 454 Session Not Found")
        await self._gateway.send(_cleaned(response, pending.number).encode())

    # ------------------------------------------------------------ requests and URIs

    async def _send(self, request: Message) -> str:
        """Send a request with the camera's URI and credentials; returns its CSeq."""
        camera = self._camera
        assert camera is not None
        self._sequence += 1
        number = str(self._sequence)
        uri = self._camera_uri(request.uri)
        signed = Message(f"{request.method} {uri} RTSP/1.0", request.headers, request.body)
        headers = {"CSeq": number, "Authorization": self._login.authorization(request.method, uri)}
        self._pending[number] = _Pending(request, request.get("CSeq") or "0")
        await camera.send(signed.with_headers(headers).encode())
        return number

    async def _refuse(self, request: Message) -> None:
        """Answer a request of the camera without forwarding it. Keep-alives get a 200; all others
        (ANNOUNCE, REDIRECT) are refused."""
        camera = self._camera
        assert camera is not None
        pings = ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER")
        status = "200 OK" if request.method in pings else "501 Not Implemented"
        await camera.send(_reply(request, status).encode())

    def _number_of(self, response: Message) -> str:
        """CSeq of the request that a response answers; the oldest request if it has no CSeq."""
        return response.get("CSeq") or next(iter(self._pending), "")

    def _sealed_uri(self, uri: str) -> bool:
        return _sealed_of(uri) == self._sealed

    def _camera_uri(self, uri: str) -> str:
        """The camera's URI for one of the relay's.

        A camera may name its tracks by absolute URLs. Those are sent back unchanged over the open
        connection, so they cannot lead elsewhere.
        """
        if not self._sealed_uri(uri):
            return uri
        parts = urlsplit(uri)
        rest = parts.path.lstrip("/").removeprefix(self._sealed)
        if parts.query:
            rest += f"?{parts.query}"
        return self._base.rstrip("/") + rest if rest not in ("", "/") else self._base


def _sealed_of(uri: str) -> str:
    """The first segment of a URI's path; empty if it is no URI."""
    try:
        return urlsplit(uri).path.strip("/").partition("/")[0]
    except ValueError:
        return ""


def _bare(url: CameraUrl) -> str:
    """The URL for a request line: without credentials, with an explicit port."""
    return replace(url, username="", password=None).with_port()


def _reply(request: Message, status: str) -> Message:
    return Message(f"RTSP/1.0 {status}", (("CSeq", request.get("CSeq") or "0"),))


def _cleaned(response: Message, number: str) -> Message:
    kept = tuple(
        (name, value) for name in _KEPT_HEADERS if (value := response.get(name)) is not None
    )
    phrase = "OK" if response.status == 200 else "Refused"
    return Message(f"RTSP/1.0 {response.status} {phrase}", (("CSeq", number), *kept), response.body)
