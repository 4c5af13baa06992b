"""Is a server ready? Each probe answers None when it is, else why not."""

from __future__ import annotations

import asyncio
import re
from typing import Protocol

PROBE_TIMEOUT_S = 2.0


class Probe(Protocol):
    async def __call__(self) -> str | None:
        """None when the server answers as it should, else what is wrong, in a few words."""
        ...


async def _exchange(host: str, port: int, request: bytes, size: int) -> bytes:
    """Send `request` on a fresh connection and return the first bytes of the answer."""
    async with asyncio.timeout(PROBE_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            if not request:
                return b""
            writer.write(request)
            await writer.drain()
            return await reader.read(size)
        finally:
            writer.close()


class TcpProbe:
    """Something accepts connections there."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def __call__(self) -> str | None:
        return await self._answer(b"", r"")

    async def _answer(self, request: bytes, expected: str) -> str | None:
        try:
            reply = await _exchange(self._host, self._port, request, 256)
        except TimeoutError:
            return f"no answer from {self._host}:{self._port} within {PROBE_TIMEOUT_S:g} s"
        except OSError as error:
            return f"{self._host}:{self._port}: {error.strerror or error}"
        if not re.match(expected, reply.decode("latin-1")):
            return f"{self._host}:{self._port} answered {reply[:60]!r}"
        return None


class HttpProbe(TcpProbe):
    """`GET path` answers 200."""

    def __init__(self, host: str, port: int, path: str = "/") -> None:
        super().__init__(host, port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()

    async def __call__(self) -> str | None:
        return await self._answer(self._request, r"HTTP/1\.\d 200 ")


class RedisProbe(TcpProbe):
    """`PING` answers `PONG`: a server that still loads its file says LOADING instead."""

    async def __call__(self) -> str | None:
        return await self._answer(b"PING\r\n", r"\+PONG")


class AllOf:
    """Every one of several probes; the first complaint counts."""

    def __init__(self, *probes: Probe) -> None:
        self._probes = probes

    async def __call__(self) -> str | None:
        for probe in self._probes:
            if complaint := await probe():
                return complaint
        return None
