"""HTTP cameras: each GET from a gateway becomes one GET to the camera.

A gateway only sees relay URLs: the relay follows redirects itself, after the policy check, and
rewrites playlists.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import h11

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.resolution import CameraAddresses
from cluster.media.sealing import Seal
from cluster.media.target import Target, is_playlist, relay_url, seal_target
from cluster.media.urls import CameraUrl, parse_camera_url
from cluster.relay.authentication import Login, parse_challenges
from cluster.relay.dialling import Connection, dial_when_due
from cluster.relay.flv import FlvTags, UnknownMediaError
from cluster.relay.media_types import (
    BOUNDARY,
    MAX_IMAGE,
    MAX_PART,
    MAX_PLAYLIST,
    PEEK,
    Media,
    MultipartImages,
    RawImages,
    media_of,
    rewritten_playlist,
)
from cluster.relay.mpegts import TransportPackets
from cluster.relay.redirects import MAX_REDIRECTS, REDIRECTS, led_to
from cluster.relay.refusals import Account, Refusals
from pipelines.errors import InputError

READ_TIMEOUT_S = 10.0
"""Slow cameras send an image every few seconds; ten seconds of silence mean that it is lost."""
HEAD_TIMEOUT_S = 10.0
"""For the response headers; as READ_TIMEOUT_S."""
WHOLE_TIMEOUT_S = 30.0
"""For a complete image, playlist or segment; the gateways give up sooner."""
READ_SIZE = 64 * 1024
"""Bytes per read."""
MAX_DETAIL = 200
"""Characters of a camera's message that are kept."""
MAX_INFORMATION = 8
"""Informational answers (status 1xx) before the real one."""
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"


@dataclass(frozen=True, slots=True)
class Body:
    """The response body for a gateway.

    Attributes:
        size: bytes; None if the body ends with the connection.
    """

    content_type: str
    size: int | None
    chunks: AsyncIterator[bytes]


class CameraResponse:
    """One GET to a camera. Close it with `close`.

    `send_request` and `chunks` raise UnreadableCameraError when the camera fails or times out.
    """

    def __init__(self, connection: Connection) -> None:
        self._reader, self._writer = connection
        self._http = h11.Connection(h11.CLIENT)
        self.status = 0
        self._headers: Sequence[tuple[bytes, bytes]] = ()

    def close(self) -> None:
        self._writer.transport.abort()

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        wanted = name.lower().encode()
        return [
            value.decode("utf-8", "surrogateescape")
            for key, value in self._headers
            if key == wanted
        ]

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    async def send_request(self, url: CameraUrl, authorization: str | None) -> None:
        """Send the request and read the response headers.

        Raises:
            UnreadableCameraError: the connection failed or timed out.
        """
        host = f"[{url.host}]" if ":" in url.host else url.host
        headers = [
            ("Host", f"{host}:{url.effective_port}" if url.port else host),
            ("User-Agent", "atalaia"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ]
        if authorization is not None:
            headers.append(("Authorization", authorization))
        encoded = [
            (name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers
        ]
        request = h11.Request(method="GET", target=request_target(url), headers=encoded)
        self._writer.write(self._http.send(request) or b"")
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                event = await self._answer()
        except TimeoutError:
            raise UnreadableCameraError(CameraProblem.TIMEOUT, "response headers") from None
        if not isinstance(event, h11.Response):
            raise UnreadableCameraError(CameraProblem.LOST)
        self.status = event.status_code
        self._headers = [(name, value) for name, value in event.headers]

    async def _answer(self) -> h11.Event | None:
        """The first event that is more than information, such as `100 Continue`."""
        for _ in range(MAX_INFORMATION):
            event = await self._event()
            if not isinstance(event, h11.InformationalResponse):
                return event
        raise UnreadableCameraError(CameraProblem.UNSUPPORTED, "nothing but informational answers")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, chunk by chunk.

        Raises:
            UnreadableCameraError: the connection failed or timed out.
        """
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)
            # Many small chunks may already be buffered: let other connections run.
            await asyncio.sleep(0)

    async def _event(self) -> h11.Event | None:
        """The next event; None if the connection ends before the body is complete."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    self._http.receive_data(await self._reader.read(READ_SIZE))
        except h11.RemoteProtocolError as error:
            raise UnreadableCameraError(CameraProblem.LOST, str(error)) from error
        except TimeoutError:
            raise UnreadableCameraError(CameraProblem.TIMEOUT, "reading") from None
        except OSError as error:
            raise UnreadableCameraError(CameraProblem.LOST, str(error)) from error
        return event if isinstance(event, h11.Event) else None


def request_target(url: CameraUrl) -> str:
    """Path and query for the request line."""
    return url.target if url.target.startswith("/") else f"/{url.target}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A camera's answer of status 200, which the caller must close.

    Attributes:
        target: where it came from, after redirects.
        account: the one that was tried.
        signed: whether the camera asked for its password.
    """

    response: CameraResponse
    target: Target
    account: Account
    signed: bool


async def get(target: Target, addresses: CameraAddresses, refusals: Refusals) -> Opened:
    """GET a camera's URL, with authentication and policy-checked redirects.

    Raises:
        UnreadableCameraError: the camera gave no such response.
    """
    login = Login(target.url.username, target.url.password or "")
    account: Account | None = None
    for _ in range(2 * (1 + MAX_REDIRECTS)):
        url = target.url
        connection, account = await dial_when_due(
            target, addresses, refusals, account, limit=READ_SIZE
        )
        response = CameraResponse(connection)
        try:
            await response.send_request(url, login.authorization("GET", request_target(url)))
            if response.status == 200:
                # What it is is not known yet: a playlist may be open, and its segments not.
                refusals.untried(account)
                return Opened(response, target, account, login.signed)
            if response.status in (401, 403) and not _asks_again(response, login):
                raise _refusal(response, account, refusals)
            if response.status != 401:
                target = _redirect(response, target)
                login = Login(target.url.username, target.url.password or "")
        except BaseException:
            response.close()
            raise
        response.close()
    raise UnreadableCameraError(CameraProblem.UNSUPPORTED, "too many redirects")


def _asks_again(response: CameraResponse, login: Login) -> bool:
    """Whether the next request can succeed where this one was refused."""
    challenges = parse_challenges(response.all("WWW-Authenticate"))
    return response.status == 401 and login.accept(challenges)


def _refusal(
    response: CameraResponse, account: Account, refusals: Refusals
) -> UnreadableCameraError:
    offered = response.all("WWW-Authenticate")
    if response.status == 401 and offered and not parse_challenges(offered):
        return UnreadableCameraError(CameraProblem.SIGN_IN, "; ".join(offered)[:MAX_DETAIL])
    refusals.refused(account)
    return UnreadableCameraError(CameraProblem.CREDENTIALS, str(response.status))


def _redirect(response: CameraResponse, target: Target) -> Target:
    """Where the camera leads to. Raises UnreadableCameraError: nowhere that can be followed."""
    if response.status not in REDIRECTS:
        raise UnreadableCameraError(CameraProblem.NOT_FOUND, f"status {response.status}")
    before = target.url
    base = f"{before.scheme}://{before.authority}{request_target(before)}"
    try:
        url = _http_url(urljoin(base, response.get("Location")))
    except ValueError:
        url = None
    if url is None:
        raise UnreadableCameraError(CameraProblem.UNSUPPORTED, "redirect to an unsupported URL")
    return led_to(target, url)


def _http_url(text: str) -> CameraUrl | None:
    """Parse a URL from a camera's response; None unless it is a valid HTTP(S) URL."""
    try:
        url = parse_camera_url(text)
    except InputError:
        return None
    return url if url.scheme in ("http", "https") else None


class HttpRelay:
    """Serves the GET requests of a gateway.

    Args:
        relay: where gateways reach the relay (tcp://…), for the URLs in playlists.
    """

    def __init__(
        self, seal: Seal, addresses: CameraAddresses, relay: str, refusals: Refusals
    ) -> None:
        self._refusals = refusals
        self._seal = seal
        self._addresses = addresses
        self._relay = relay

    async def open(self, target: Target) -> tuple[Body, CameraResponse]:
        """The camera's media, and the response, which the caller must close afterwards.

        Raises:
            UnreadableCameraError: the camera cannot be read, or sends no video.
        """
        opened = await get(target, self._addresses, self._refusals)
        try:
            return await self._body(opened), opened.response
        except UnknownMediaError as error:
            opened.response.close()
            raise UnreadableCameraError(CameraProblem.UNSUPPORTED, str(error)) from error
        except BaseException:
            opened.response.close()
            raise

    async def _body(self, opened: Opened) -> Body:
        target, response = opened.target, opened.response
        if response.get("Content-Encoding").lower() not in ("", "identity"):
            raise UnknownMediaError("compressed response body")
        chunks = response.chunks()
        first = b""
        async for chunk in chunks:
            first += chunk
            if len(first) >= PEEK or _identifiable(response.get("Content-Type"), first):
                break
        content_type = response.get("Content-Type")
        media = media_of(content_type, first[:PEEK], part=target.part)
        if media is Media.PLAYLIST:
            return await self._playlist(target, first, chunks)
        if opened.signed:
            self._refusals.accepted(opened.account)
        if is_playlist(target):
            # Gateways read a playlist into memory as a whole.
            raise UnknownMediaError("expected a playlist")
        if media is Media.IMAGE:
            return _complete("image/jpeg", await _read_whole(first, chunks, MAX_IMAGE))
        if target.part:
            return _complete(content_type, await _read_part(media, first, chunks))
        return _endless(media, first, chunks)

    async def _playlist(self, target: Target, first: bytes, chunks: AsyncIterator[bytes]) -> Body:
        text = (await _read_whole(first, chunks, MAX_PLAYLIST)).decode("utf-8", "replace")
        url = target.url

        def link(address: str, playlist: bool) -> str | None:
            linked = _http_url(address)
            if linked is None:
                return None
            found = led_to(target, linked).as_part(not playlist)
            return relay_url(self._relay, found, seal_target(self._seal, found))

        base = f"{url.scheme}://{url.authority}{request_target(url)}"
        return _complete(PLAYLIST_TYPE, rewritten_playlist(text, base, link).encode())


def _endless(media: Media, first: bytes, chunks: AsyncIterator[bytes]) -> Body:
    """An unbounded stream, validated where its format embeds lengths."""
    if media is Media.STREAM:
        return Body("application/octet-stream", None, _continued(first, chunks))
    if media is Media.TRANSPORT_STREAM:
        return Body("video/mp2t", None, _checked(TransportPackets(), first, chunks))
    if media is Media.FLV:
        return Body("video/x-flv", None, _checked(FlvTags(), first, chunks))
    feeder = MultipartImages() if media is Media.MULTIPART_IMAGES else RawImages()
    kind = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
    return Body(kind, None, _checked(feeder, first, chunks))


def _identifiable(content_type: str, first: bytes) -> bool:
    """Whether the first bytes identify the format; some cameras send text before the first JPEG."""
    try:
        media_of(content_type, first, part=True)
    except UnknownMediaError:
        return False
    return len(first) >= 16


async def _read_part(media: Media, first: bytes, chunks: AsyncIterator[bytes]) -> bytes:
    """A segment of a playlist. Raises UnknownMediaError unless it is part of a stream."""
    if media is Media.TRANSPORT_STREAM:
        data = await _read_whole(first, chunks, MAX_PART)
        return b"".join(TransportPackets().feed(data))
    if media is not Media.STREAM:
        raise UnknownMediaError("playlist segment is not part of a stream")
    return await _read_whole(first, chunks, MAX_PART)


async def _read_whole(first: bytes, chunks: AsyncIterator[bytes], limit: int) -> bytes:
    data = bytearray(first)
    try:
        async with asyncio.timeout(WHOLE_TIMEOUT_S):
            async for chunk in chunks:
                data += chunk
                if len(data) > limit:
                    raise UnknownMediaError(f"file exceeds {limit} bytes")
    except TimeoutError:
        raise UnreadableCameraError(CameraProblem.TIMEOUT, "reading a file") from None
    return bytes(data)


def _complete(content_type: str, data: bytes) -> Body:
    async def once() -> AsyncIterator[bytes]:
        yield data

    return Body(content_type, len(data), once())


async def _continued(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


async def _checked(
    feeder: MultipartImages | RawImages | FlvTags | TransportPackets,
    first: bytes,
    chunks: AsyncIterator[bytes],
) -> AsyncIterator[bytes]:
    async for chunk in _continued(first, chunks):
        for part in feeder.feed(chunk):
            yield part
