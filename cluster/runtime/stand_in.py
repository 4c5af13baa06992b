"""Answers 503 on the API's port of this machine while nobody else listens there.

Ray Serve has one HTTP proxy per node, and takes seconds to start another. Without this, clients
would be refused meanwhile, and could not tell that from an API which is not there at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from cluster.core.log import get_logger

log = get_logger("stand-in")

POLL_S = 0.25
"""Between two looks at who listens; one costs 0.1 ms."""
RETRY_AFTER_S = 2
READ_TIMEOUT_S = 2.0
MAX_HEAD = 65_536
"""Bytes of a request that are read, so that its client sees the answer and not a reset."""
MAX_CONNECTIONS = 256
LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp (proc(5))."""

_PROBLEM = json.dumps(
    {
        "type": "urn:atalaia:problem:unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "code": "unavailable",
        "detail": "The API is being started again.",
        "hint": "Try again in a moment.",
    }
).encode()
ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Retry-After: %d\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
) % (RETRY_AFTER_S, len(_PROBLEM), _PROBLEM)


class StandIn:
    """Watches a port, and listens there while nobody else does. Serve's proxies share their port
    (SO_REUSEPORT), so that the next one can listen before this has gone.

    Args:
        host, port: where the API's proxy listens on this machine.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._open = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch. Call it when the proxy has been up."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="API stand-in")

    async def aclose(self) -> None:
        """Stop, and free the port. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                if not _listeners(self._port):
                    await self._serve()
            except OSError as error:
                log.warning("cannot stand in for the API", error=str(error))
            await asyncio.sleep(POLL_S)

    async def _serve(self) -> None:
        with _listening_socket(self._host, self._port) as own:
            inode = os.fstat(own.fileno()).st_ino
            server = await asyncio.start_server(self._answer, sock=own, limit=MAX_HEAD)
            log.warning("nobody answers on the API's port; answering 503", port=self._port)
            try:
                await self._until_another_listens(inode)
            finally:
                server.close()
            log.info("the API's port is served again", port=self._port)

    async def _until_another_listens(self, own: int) -> None:
        while True:
            if _listeners(self._port) - {own}:
                return
            await asyncio.sleep(POLL_S)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError):
                    async with asyncio.timeout(READ_TIMEOUT_S):
                        await _read_head(reader)
                writer.write(ANSWER)
                async with asyncio.timeout(READ_TIMEOUT_S):
                    await writer.drain()
        except (OSError, TimeoutError):
            log.debug("a client went before it was answered")
        finally:
            self._open -= 1
            writer.close()


async def _read_head(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")


def _listening_socket(host: str, port: int) -> socket.socket:
    """Raises OSError, for instance where somebody listens who does not share the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    own = socket.socket(family, socket.SOCK_STREAM)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind((host, port))
    except OSError:
        own.close()
        raise
    return own


def _listeners(port: int) -> set[int]:
    """Inodes of the sockets that listen on that port of this machine, at whatever address."""
    found: set[int] = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):  # no IPv6
            found |= listening(Path("/proc/net", table).read_text().splitlines()[1:], port)
    return found


def listening(lines: Iterable[str], port: int) -> set[int]:
    """Inodes of sockets that listen on `port`, from the lines of /proc/net/tcp."""
    rows = (line.split() for line in lines if f":{port:04X} " in line)
    return {
        int(row[9])
        for row in rows
        if row[3] == LISTEN and int(row[1].rpartition(":")[2], 16) == port
    }
