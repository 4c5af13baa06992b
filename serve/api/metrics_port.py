"""The metrics of this replica on a port of its own, for Prometheus alone.

A scrape of the API's port reaches whichever replica Serve chooses, so that counters seem to jump;
and who may reach that port may not be meant to read metrics. Here each replica has a port: the
first of `api.metrics` that is free on its node.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from cluster.core.api_settings import MetricsSettings
from cluster.core.log import get_logger
from serve.api.metrics import Metrics

log = get_logger("api.metrics")

MAX_HEAD_BYTES = 8192
"""Prometheus sends some 400."""
MAX_OPEN = 8
"""Connections at once: a Prometheus pair has two."""
EXCHANGE_S = 10.0
"""For a whole request and its answer; Prometheus gives up after ten seconds (`scrape_timeout`)."""
RETRY_S = 15.0
"""Between two looks for a free port, which is one scrape interval at most."""


class MetricsPort:
    """Serves `GET /metrics`. Belongs to the event loop in which `start` is called.

    Args:
        retry_s: how long it waits when none of its ports is free.
    """

    def __init__(
        self, settings: MetricsSettings, metrics: Metrics, retry_s: float = RETRY_S
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._retry_s = retry_s
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[None]] = set()
        # Of its own, so that a large answer does not keep the loop from serving requests.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self.ready = asyncio.Event()

    @property
    def port(self) -> int | None:
        """The port on which it listens; None: on none so far."""
        return self._server.sockets[0].getsockname()[1] if self._server else None

    def start(self) -> None:
        """Look for a free port in the background, as long as it takes; idempotent."""
        if self._settings.port is not None and self._task is None:
            self._task = asyncio.create_task(self._find_port(), name="metrics port")

    async def aclose(self) -> None:
        """Listen no more, and end what is under way. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            self._server = None
        for exchange in self._open:
            exchange.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._writer.shutdown(wait=False)

    async def _find_port(self) -> None:
        first = self._settings.port or 0
        last = min(first + self._settings.ports - 1, 65_535)
        said = False
        while self._server is None:
            for port in range(first, last + 1):
                self._server = self._server or await self._listen(port)
            if self._server is None:
                if not said:
                    log.warning("no free port for metrics", host=self._settings.host, first=first)
                said = True
                await asyncio.sleep(self._retry_s)
        log.info("metrics", host=self._settings.host, port=self.port)
        self.ready.set()

    async def _listen(self, port: int) -> asyncio.Server | None:
        try:
            return await asyncio.start_server(
                self._connected, self._settings.host, port, limit=MAX_HEAD_BYTES, backlog=MAX_OPEN
            )
        except OSError:  # taken, or not an address of this machine
            return None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = asyncio.current_task()
        assert exchange is not None
        free = len(self._open) < MAX_OPEN
        self._open.add(exchange)
        try:
            async with asyncio.timeout(EXCHANGE_S):
                writer.write(await self._answer(reader) if free else _response(503, b"busy\n"))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            # Whoever asked has gone, or is too slow. Prometheus shows that as `up` 0.
            writer.transport.abort()
        finally:
            self._open.discard(exchange)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(431, b"too long\n")
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _response(404, b"only /metrics is here\n")
        if method != b"GET":
            return _response(405, b"only GET\n")
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(self._writer, self._metrics.exposition)
        return _response(200, body, CONTENT_TYPE_PLAIN_0_0_4)


_PHRASES = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def _response(status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
