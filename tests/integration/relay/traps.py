"""Servers that must not be reached, and cameras that redirect to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

FORBIDDEN = "127.0.0.66"
"""Loopback like every server of the tests, but denied to cameras."""


@dataclass
class Trap:
    """Counts connections."""

    address: str = ""
    connections: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(await reader.read(4096))
        writer.close()


@asynccontextmanager
async def trap(host: str = FORBIDDEN) -> AsyncIterator[Trap]:
    caught = Trap()
    server = await asyncio.start_server(caught.serve, host, 0)
    caught.address = f"{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield caught
    finally:
        server.close()


Script = Callable[[str, str, str], bytes]
"""Method, URL and number of an RTSP request: the bytes to answer with."""


@asynccontextmanager
async def scripted_rtsp(script: Script) -> AsyncIterator[str]:
    """An RTSP server with arbitrary responses. Yields host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, url, _ = head.split(" ", 2)
                number = head.lower().partition("cseq:")[2].split("\r\n")[0].strip()
                writer.write(script(method, url, number))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def rtsp_answer(number: str, status: str = "200 OK", *headers: str, body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {number}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode("latin-1")
