"""Servers of our own on loopback, for cameras that no real server plays."""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self


@dataclass(kw_only=True)
class LoopbackServer(ABC):
    """Accepts connections and ends them with itself.

    Attributes:
        port: where it listens; 0: any, chosen when it starts, and kept when it starts again.
        connections: how many there ever were.
    """

    port: int = 0
    connections: int = 0
    _clients: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def connected(self) -> int:
        """Connections that are open now."""
        return len(self._clients)

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._accept, host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self.drop_all()

    async def drop_all(self) -> None:
        """Cut every connection, like a restarting camera."""
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    @abstractmethod
    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until either side ends it."""

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self.connections += 1
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # how clients end; and the server ends its sessions by cancelling them
        finally:
            self._clients.discard(task)
            writer.close()


async def read_rtsp_request(
    reader: asyncio.StreamReader,
) -> tuple[str, str, dict[str, str]] | None:
    """Method, URI and headers of the next request; None at the end. Skips RTCP of the receiver."""
    while True:
        first = await reader.read(1)
        if not first:
            return None
        if first != b"$":
            break
        _, size = struct.unpack("!BH", await reader.readexactly(3))
        await reader.readexactly(size)
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    start, *lines = head.strip().split("\r\n")
    method, uri, _ = start.split(" ", 2)
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return method, uri, headers
