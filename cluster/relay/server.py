"""The relay's single port: RTSP, RTMP and HTTP for gateways, and status queries of the cluster.

    rtsp://relay/<sealed>      a camera that speaks RTSP
    rtmp://relay/<sealed>/live a camera that speaks RTMP
    http://relay/<sealed>      a camera that speaks HTTP
    http://relay/why/<sealed>  the last failure of a camera, as JSON; 404 if there is none
    http://relay/healthz       liveness

Without a sealed URL there is no access: nothing can be listed and nothing can be guessed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from cluster.core.addresses import AddressPolicy
from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.resolution import CameraAddresses, ServiceAddress, own_services
from cluster.media.sealing import gateway_secret, sources_seal
from cluster.media.target import open_target
from cluster.relay import rtmp
from cluster.relay.amf import AmfError
from cluster.relay.chunks import ChunkError
from cluster.relay.failures import Failures
from cluster.relay.flv import UnknownMediaError
from cluster.relay.http import HttpRelay
from cluster.relay.messages import ProtocolError
from cluster.relay.refusals import Refusals
from cluster.relay.rtmp import RtmpRelay
from cluster.relay.rtsp import RtspRelay, Wire
from pipelines.clock import Clock, SystemClock

log = get_logger("relay")

HEAD_TIMEOUT_S = 10.0
"""For the first request on a new connection; our clients send it in one packet."""
MAX_HTTP_HEAD = 16 * 1024
"""Bytes. A sealed URL of 4096 characters takes 5.5 KB."""
MAX_CONNECTIONS = 2048
"""Each needs one more for its camera; together they stay within the usual limit of 4096 files."""
READ_SIZE = 64 * 1024
"""Bytes per read."""
CLOSE_TIMEOUT_S = 2.0
"""For flushing a response that a gateway no longer reads."""

_PHRASES = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405:
            "Method Not Allowed", 502: "Bad Gateway", 504: "Gateway Timeout"}  # fmt: skip
_STATUS = {
    CameraProblem.CREDENTIALS: 401,
    CameraProblem.NOT_ALLOWED: 403,
    CameraProblem.NOT_FOUND: 404,
    CameraProblem.TIMEOUT: 504,
}


class RelayConfig(BaseModel):
    """The minimum that a relay needs. It holds no secret of any other component.

    Attributes:
        url: where gateways reach the relay (tcp://…).
        secret: `gateway.secret`, or the secret derived in its place.
        services: addresses of Atalaia's own services, which cameras may not have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bind: str
    port: int
    url: str
    secret: SecretStr
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    services: tuple[ServiceAddress, ...]
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def of(cls, settings: Settings) -> RelayConfig:
        """The relay's part of the settings.

        Raises:
            ConfigError: the secret is missing or too short.
        """
        gateway = settings.gateway
        return cls(
            bind=gateway.relay_bind,
            port=gateway.relay_port,
            url=gateway.relay_url,
            secret=SecretStr(gateway_secret(settings)),
            allow=gateway.allow,
            deny=gateway.deny,
            services=own_services(settings),
            log_level=settings.log.level,
        )

    def to_json(self) -> str:
        """JSON that includes the secret; write it to a private file only."""
        content = self.model_dump(mode="json") | {"secret": self.secret.get_secret_value()}
        return json.dumps(content)


class RelayServer:
    """Listens from `start` until `aclose`, on the event loop that called `start`."""

    def __init__(
        self,
        config: RelayConfig,
        addresses: CameraAddresses | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._seal = sources_seal(config.secret.get_secret_value())
        policy = AddressPolicy.parse(config.allow, config.deny)
        self._addresses = addresses or CameraAddresses(policy, config.services, clock=SystemClock())
        self._failures = Failures()
        self._refusals = Refusals(clock or SystemClock())
        self._http = HttpRelay(self._seal, self._addresses, config.url, self._refusals)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start listening.

        Raises:
            OSError: the address or port cannot be bound.
        """
        self._server = await asyncio.start_server(
            self._accept, self._config.bind, self._config.port, limit=READ_SIZE
        )

    def why(self, sealed: str) -> UnreadableCameraError | None:
        """Why the camera of this sealed target could not be read; None if it could."""
        failure = self._failures.of(sealed)
        return UnreadableCameraError(failure.problem, failure.detail) if failure else None

    async def aclose(self) -> None:
        """Stop listening and close every connection. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
        self._addresses.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            log.warning("too many connections", limit=MAX_CONNECTIONS)
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="relay connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                first = await reader.read(READ_SIZE)
            if (
                first.startswith((b"GET ", b"HEAD "))
                and b"RTSP/1." not in first.partition(b"\n")[0]
            ):
                await self._serve_http(first, reader, writer)
            elif first.startswith(rtmp.VERSION):
                relay = RtmpRelay((reader, writer), self._seal, self._addresses, self._failures)
                await relay.run(first)
            elif first:
                wire = Wire(reader, writer, first)
                relayed = RtspRelay(
                    wire, self._seal, self._addresses, self._failures, self._refusals
                )
                await relayed.run()
            writer.close()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await writer.wait_closed()
        except (ProtocolError, ChunkError, AmfError, OSError, TimeoutError) as error:
            log.debug("connection ended", reason=repr(error))
        except Exception:
            # Top of a connection's task: a bug must not affect other connections.
            log.exception("connection failed")
        finally:
            writer.transport.abort()

    # ------------------------------------------------------------ HTTP

    async def _serve_http(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            while b"\r\n\r\n" not in first:
                more = await reader.read(READ_SIZE)
                if not more or len(first) > MAX_HTTP_HEAD:
                    raise ProtocolError("incomplete HTTP request")
                first += more
        method, _, rest = first.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method != "GET":
            _respond(writer, 405)
        elif path == "/healthz":
            _respond(writer, 200, body=b"ok\n")
        elif path.startswith("/why/"):
            self._send_failure(writer, path.removeprefix("/why/"))
        else:
            sealed = path.strip("/").partition("/")[0]
            await self._until_hangup(reader, self._serve_camera(sealed, writer))
        await writer.drain()

    async def _until_hangup(
        self, reader: asyncio.StreamReader, serving: Coroutine[None, None, None]
    ) -> None:
        """Serve until the response is complete or the gateway closes the connection."""
        tasks = asyncio.create_task(serving), asyncio.create_task(_wait_for_hangup(reader))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = results[0]
        if isinstance(failed, Exception):
            raise failed

    def _send_failure(self, writer: asyncio.StreamWriter, sealed: str) -> None:
        failure = self._failures.of(sealed)
        if failure is None:
            _respond(writer, 404)
            return
        body = json.dumps(asdict(failure)).encode()
        _respond(writer, 200, content_type="application/json", body=body)

    async def _serve_camera(self, sealed: str, writer: asyncio.StreamWriter) -> None:
        target = open_target(self._seal, sealed)
        if target is None or target.url.scheme not in ("http", "https"):
            _respond(writer, 404)
            return
        try:
            body, camera = await self._http.open(target)
        except UnreadableCameraError as error:
            self._failures.add(sealed, target.tenant, error)
            _respond(writer, _STATUS.get(error.problem, 502))
            return
        self._failures.forget(sealed)
        try:
            _head(writer, 200, body.content_type, body.size)
            async for chunk in body.chunks:
                writer.write(chunk)
                await writer.drain()
        except UnknownMediaError as error:
            unsupported = UnreadableCameraError(CameraProblem.UNSUPPORTED, str(error))
            self._failures.add(sealed, target.tenant, unsupported)
        except UnreadableCameraError as error:
            self._failures.add(sealed, target.tenant, error)
        finally:
            camera.close()


async def _wait_for_hangup(reader: asyncio.StreamReader) -> None:
    """Wait until the peer closes the connection; discards whatever it sends."""
    while await reader.read(READ_SIZE):
        pass


def _respond(
    writer: asyncio.StreamWriter,
    status: int,
    content_type: str = "text/plain",
    body: bytes = b"",
) -> None:
    _head(writer, status, content_type, len(body))
    writer.write(body)


def _head(writer: asyncio.StreamWriter, status: int, content_type: str, size: int | None) -> None:
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", "Connection: close"]
    if size is not None:
        lines.append(f"Content-Length: {size}")
    safe = content_type if content_type.isprintable() and content_type.isascii() else ""
    lines.append(f"Content-Type: {safe or 'application/octet-stream'}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
