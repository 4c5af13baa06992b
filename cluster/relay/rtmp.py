"""Relays one RTMP connection of a gateway to its camera.

The gateway's application name is the sealed target; the camera receives its own application name.
Messages of both sides are parsed and re-encoded, so that no invalid length from a camera and no
commands other than a player's pass through.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

from cluster.core.aio import until_first_ends
from cluster.core.log import get_logger, redact
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.resolution import CameraAddresses
from cluster.media.sealing import Seal
from cluster.media.target import Target, open_target
from cluster.media.urls import CameraUrl
from cluster.relay import amf, chunks, flv
from cluster.relay.amf import AmfError
from cluster.relay.chunks import ChunkError, ChunkReader, ChunkWriter, RtmpMessage
from cluster.relay.dialling import Connection, dial
from cluster.relay.failures import Failures

log = get_logger("relay.rtmp")

VERSION = b"\x03"
"""First byte of the handshake."""
HANDSHAKE = 1536
"""Bytes of each handshake packet (section 5.2)."""
ANSWER_TIMEOUT_S = 5.0
"""For a handshake or command; as `rtsp.ANSWER_TIMEOUT_S`."""
IDLE_TIMEOUT_S = 60.0
"""As `rtsp.IDLE_TIMEOUT_S`."""
READ_SIZE = 64 * 1024
"""Bytes per read."""
CAMERA_CHUNK = 4096
"""Bytes. OBS and go2rtc use this chunk size, so cameras support it."""
GATEWAY_CHUNK = 64 * 1024
"""Bytes. Large, so that few chunk headers are needed; gateways accept any size."""
MAX_COMMAND = 8 * 1024
"""Bytes. A player's commands and their responses have some hundred bytes."""
MAX_DETAIL = 200
"""Characters of a camera's own message that an error shows."""

_PLAYER_COMMANDS = frozenset(
    {"createStream", "deleteStream", "getStreamLength", "FCSubscribe", "_result", "_checkbw"}
)
_MISSING = frozenset({"NetStream.Play.StreamNotFound", "NetStream.Play.Failed"})
# Payload lengths of the control messages (sections 5.4 and 7.1.7 of the specification).
_CONTROL_SIZES = {
    chunks.ACKNOWLEDGEMENT: (4,),
    chunks.USER_CONTROL: (6, 10),
    chunks.WINDOW_SIZE: (4,),
    chunks.PEER_BANDWIDTH: (5,),
}


def application_of(url: CameraUrl) -> tuple[str, str]:
    """Application and stream name in a camera's URL. The last path segment, with the query, is the
    stream name; a single segment is the application."""
    path, mark, query = url.target.partition("?")
    application, _, stream = path.strip("/").rpartition("/")
    if not application:
        application, stream = stream, ""
    return application, stream + mark + query


class RtmpRelay:
    """Serves one connection of a gateway until either side ends it."""

    def __init__(
        self, gateway: Connection, seal: Seal, addresses: CameraAddresses, failures: Failures
    ) -> None:
        self._reader, self._writer = gateway
        self._seal = seal
        self._addresses = addresses
        self._failures = failures
        self._sealed = ""
        self._from_gateway, self._from_camera = ChunkReader(), ChunkReader()
        self._to_gateway, self._to_camera = ChunkWriter(GATEWAY_CHUNK), ChunkWriter(CAMERA_CHUNK)
        self._playing = False

    async def run(self, first: bytes) -> None:
        """Relay until either side closes the connection.

        Args:
            first: bytes that were already read from the gateway.

        Raises:
            ChunkError, AmfError: the gateway violates the protocol.
            OSError: a connection was lost; TimeoutError: a side did not answer.
        """
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            rest = await self._handshake_with_gateway(first)
        messages = _messages(self._from_gateway, self._reader, rest)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            connect = await self._connect_command(messages)
        target = open_target(self._seal, self._sealed)
        if target is None or not target.url.scheme.startswith("rtmp"):
            return
        try:
            await self._relay(target, connect, messages)
        except UnreadableCameraError as error:
            self._failures.add(self._sealed, target.tenant, error)

    async def _relay(
        self, target: Target, connect: RtmpMessage, messages: AsyncIterator[RtmpMessage]
    ) -> None:
        reader, writer = await dial(target, self._addresses, limit=READ_SIZE)
        try:
            await _handshake_with_camera(reader, writer)
            writer.write(self._to_camera.encode(_connect_to(target.url, connect)))
            await until_first_ends(
                self._pump_up(target.url, messages, writer), self._pump_down(reader)
            )
        finally:
            writer.transport.abort()

    # ------------------------------------------------------------ from the gateway

    async def _handshake_with_gateway(self, first: bytes) -> bytes:
        """The server's side of the handshake (section 5.2). Returns the bytes after it."""
        greeting = first
        while len(greeting) < 1 + HANDSHAKE:
            greeting += await _read(self._reader)
        own = bytes(8) + secrets.token_bytes(HANDSHAKE - 8)
        self._writer.write(VERSION + own + greeting[1 : 1 + HANDSHAKE])
        rest = greeting[1 + HANDSHAKE :]
        while len(rest) < HANDSHAKE:
            rest += await _read(self._reader)
        return rest[HANDSHAKE:]

    async def _connect_command(self, messages: AsyncIterator[RtmpMessage]) -> RtmpMessage:
        async for message in messages:
            if message.kind == chunks.COMMAND and _name(message) == "connect":
                found = amf.values(message.payload)
                application = amf.fields(message.payload, found[2][0]).get("app", "")
                self._sealed = application.partition("?")[0].strip("/").partition("/")[0]
                return message
        raise ChunkError("connection closed before the connect command")

    async def _pump_up(
        self, url: CameraUrl, messages: AsyncIterator[RtmpMessage], writer: asyncio.StreamWriter
    ) -> None:
        async for message in messages:
            if (wanted := _player_message(url, message)) is not None:
                writer.write(self._to_camera.encode(wanted))
                await writer.drain()

    # ------------------------------------------------------------ from the camera

    async def _pump_down(self, reader: asyncio.StreamReader) -> None:
        try:
            async for message in _messages(self._from_camera, reader, b""):
                if self._should_forward(message):
                    self._writer.write(self._to_gateway.encode(message))
                    await self._writer.drain()
        except (ChunkError, AmfError) as error:
            raise UnreadableCameraError(CameraProblem.UNSUPPORTED, str(error)) from error
        except TimeoutError:
            raise UnreadableCameraError(CameraProblem.TIMEOUT, "reading") from None
        if not self._playing:
            raise UnreadableCameraError(CameraProblem.LOST)

    def _should_forward(self, message: RtmpMessage) -> bool:
        """Whether to forward a camera's message.

        Raises:
            UnreadableCameraError: the camera rejects the connection or the stream.
        """
        if message.kind in (chunks.AUDIO, chunks.VIDEO):
            if not self._playing:
                self._playing = True
                self._failures.forget(self._sealed)
            return flv.is_well_formed(message.kind, message.payload)
        if message.kind == chunks.COMMAND:
            return self._should_forward_reply(message)
        if message.kind == chunks.DATA:
            return len(message.payload) <= MAX_COMMAND
        return len(message.payload) in _CONTROL_SIZES.get(message.kind, ())

    def _should_forward_reply(self, message: RtmpMessage) -> bool:
        if len(message.payload) > MAX_COMMAND:
            return False
        found = amf.values(message.payload)
        name = _name(message)
        status = amf.fields(message.payload, found[-1][0]) if found else {}
        code = status.get("code", "")
        if name == "_error" or code == "NetConnection.Connect.Rejected":
            message_text = f"{code} {status.get('description', '')}"
            login = "auth" in message_text.lower()
            problem = CameraProblem.CREDENTIALS if login else CameraProblem.NOT_FOUND
            raise UnreadableCameraError(problem, redact(message_text.strip(), MAX_DETAIL))
        if code in _MISSING:
            raise UnreadableCameraError(CameraProblem.NOT_FOUND, code)
        return name in ("_result", "onStatus")


async def _handshake_with_camera(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The client's side of the handshake.

    Raises:
        UnreadableCameraError: the camera does not complete it.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            writer.write(VERSION + bytes(8) + secrets.token_bytes(HANDSHAKE - 8))
            answer = await reader.readexactly(1 + 2 * HANDSHAKE)
            writer.write(answer[1 : 1 + HANDSHAKE])
    except TimeoutError:
        raise UnreadableCameraError(CameraProblem.TIMEOUT, "RTMP handshake") from None
    except (asyncio.IncompleteReadError, OSError) as error:
        raise UnreadableCameraError(CameraProblem.LOST, str(error)) from error
    if answer[:1] != VERSION:
        raise UnreadableCameraError(CameraProblem.UNSUPPORTED, "not RTMP")


def _name(message: RtmpMessage) -> str:
    return amf.text(message.payload, 0)


def _connect_to(url: CameraUrl, connect: RtmpMessage) -> RtmpMessage:
    """The gateway's `connect` command, rewritten for the camera's application."""
    application, _ = application_of(url)
    found = amf.values(connect.payload)
    scheme = url.scheme
    changes = {"app": application, "tcUrl": f"{scheme}://{url.authority}/{application}"}
    return replace(connect, payload=amf.with_fields(connect.payload, found[2][0], changes))


def _player_message(url: CameraUrl, message: RtmpMessage) -> RtmpMessage | None:
    """A gateway's message rewritten for the camera; None for anything a player does not send."""
    if message.kind != chunks.COMMAND:
        return message if message.kind in _CONTROL_SIZES else None
    name = _name(message)
    if name in _PLAYER_COMMANDS:
        return message
    found = amf.values(message.payload)
    if name != "play" or len(found) < 4:
        return None
    start, end = found[3]
    _, stream = application_of(url)
    payload = message.payload[:start] + amf.string(stream) + message.payload[end:]
    return replace(message, payload=payload)


async def _messages(
    chunk_reader: ChunkReader, reader: asyncio.StreamReader, first: bytes
) -> AsyncIterator[RtmpMessage]:
    """Messages until the connection ends."""
    data = first
    while True:
        for message in chunk_reader.feed(data):
            yield message
        # More data may already be buffered: let other connections run.
        await asyncio.sleep(0)
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            data = await reader.read(READ_SIZE)
        if not data:
            return


async def _read(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(READ_SIZE)
    if not data:
        raise ConnectionResetError("the gateway closed the connection")
    return data
