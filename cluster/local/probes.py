"""Readiness probes. Each returns None if the server is ready, else the reason why not."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Protocol

from cluster.local.ports import split_address

PROBE_TIMEOUT_S = 2.0
"""For one probe on loopback, where a healthy server answers within milliseconds."""


class Probe(Protocol):
    async def __call__(self) -> str | None:
        """None if the server responds as expected, else a short description of the problem."""
        ...


async def _exchange(host: str | Path, port: int | None, request: bytes, size: int) -> bytes:
    """Send `request` on a new connection and return the first bytes of the response."""
    async with asyncio.timeout(PROBE_TIMEOUT_S):
        reader, writer = await (
            asyncio.open_unix_connection(host)
            if isinstance(host, Path)
            else asyncio.open_connection(host, port)
        )
        try:
            if not request:
                return b""
            writer.write(request)
            await writer.drain()
            return await reader.read(size)
        finally:
            writer.close()


class TcpProbe:
    """Checks that the address accepts connections.

    Args:
        host: a host, or the path of a Unix socket.
        port: None for a Unix socket.
    """

    def __init__(self, host: str | Path, port: int | None) -> None:
        self._host, self._port = host, port
        self._where = str(host) if port is None else f"{host}:{port}"

    async def __call__(self) -> str | None:
        return await self._answer(b"", r"")

    async def _answer(self, request: bytes, expected: str) -> str | None:
        try:
            reply = await _exchange(self._host, self._port, request, 256)
        except TimeoutError:
            return f"no answer from {self._where} within {PROBE_TIMEOUT_S:g} s"
        except OSError as error:
            return f"{self._where}: {error.strerror or error}"
        if not re.match(expected, reply.decode("latin-1")):
            return f"{self._where} answered {reply[:60]!r}"
        return None


class HttpProbe(TcpProbe):
    """Checks that `GET path` returns the expected status."""

    def __init__(
        self, host: str | Path, port: int | None, path: str = "/", *, status: int = 200
    ) -> None:
        super().__init__(host, port)
        name = "localhost" if port is None else host
        self._request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
        self._expected = rf"HTTP/1\.\d {status} "

    async def __call__(self) -> str | None:
        return await self._answer(self._request, self._expected)


class RedisProbe(TcpProbe):
    """Checks that `PING` returns `PONG`; a server still loading its file returns LOADING."""

    async def __call__(self) -> str | None:
        return await self._answer(b"PING\r\n", r"\+PONG")


class AllOf:
    """Combines several probes; returns the first problem found."""

    def __init__(self, *probes: Probe) -> None:
        self._probes = probes

    async def __call__(self) -> str | None:
        for probe in self._probes:
            if complaint := await probe():
                return complaint
        return None


def reachable(url: str, default_port: int) -> TcpProbe:
    """A probe for `url`, which may be a unix:// URL.

    Raises:
        ConfigError: not a URL with a host.
    """
    if url.startswith("unix://"):
        return TcpProbe(Path(url.removeprefix("unix://")), None)
    return TcpProbe(*split_address(url, default_port))
