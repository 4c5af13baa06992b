"""HTTP servers that act as a camera, or as an impostor of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = tuple[int, dict[str, str], bytes]
Pages = Callable[[str], Answer]
"""What to answer to a GET of a path (with its query)."""


@dataclass
class HttpCamera:
    """Answers GETs and remembers what it was asked.

    Attributes:
        asked: paths, in order.
        heads: whole heads of the requests.
    """

    pages: Pages
    url: str = ""
    requested: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if not first.isalpha():  # a client that wants to speak TLS
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            self.requested.append(path)
            self.heads.append(head)
            status, headers, body = self.pages(path)
            lines = [f"HTTP/1.1 {status} -", *(f"{k}: {v}" for k, v in headers.items())]
            if "Content-Length" not in headers:
                lines.append(f"Content-Length: {len(body)}")
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()


@asynccontextmanager
async def http_camera(pages: Pages) -> AsyncIterator[HttpCamera]:
    camera = HttpCamera(pages)
    server = await asyncio.start_server(camera.serve, "127.0.0.1", 0)
    camera.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield camera
    finally:
        server.close()


def home_page(path: str) -> Answer:
    """A web server with a home page, but no camera."""
    if path == "/":
        return 200, {"Content-Type": "text/html"}, b"<html>hello</html>"
    return 404, {}, b""
