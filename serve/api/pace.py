"""Clients that neither take nor send are not waited for without end: what they hold is freed.

Only the time counts in which we wait for the client. An answer that takes long to make costs it
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.core.log import get_logger
from pipelines.clock import Clock
from serve.api.metrics import Metrics

# A client at the lowest rate that is still waited for takes one of these in two seconds, whatever
# the application sends at once.
PIECE_BYTES = 64 * 1024

log = get_logger("api.pace")


class Patience:
    """How much longer a client is waited for.

    Args:
        grace_s: how long it may do nothing, and what it may save up at most: a client that was fast
            for an hour is not waited for an hour.
        bytes_per_s: a client at this rate or faster is never cut off.
    """

    def __init__(self, grace_s: float, bytes_per_s: float) -> None:
        self._grace_s = grace_s
        self._bytes_per_s = bytes_per_s
        self.left_s = grace_s

    def waited(self, seconds: float, moved: int) -> None:
        """It was waited for this long, and took or sent `moved` bytes in it."""
        left_s = self.left_s - seconds + moved / self._bytes_per_s
        self.left_s = max(0.0, min(self._grace_s, left_s))


class EndSlowClients:
    """ASGI middleware: a body that does not come gets 408, an answer that is not taken is cut off.

    Args:
        grace_s, bytes_per_s: as of `Patience`; each direction has its own.
    """

    def __init__(
        self, app: ASGIApp, clock: Clock, metrics: Metrics, grace_s: float, bytes_per_s: float
    ) -> None:
        self._app = app
        self._clock = clock
        self._metrics = metrics
        self._pace = grace_s, bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = _Upload(receive, self._clock, self._metrics, Patience(*self._pace))
        download = _Download(send, self._clock, self._metrics, Patience(*self._pace))
        try:
            await self._app(scope, upload.receive, download.send)
        except Exception:
            # The server closes the connection of an answer that has no end.
            if not download.ended:
                raise


class _EndedError(Exception):
    """Unwinds an application whose answer is not taken; goes no further than the middleware."""


class _Download:
    def __init__(self, send: Send, clock: Clock, metrics: Metrics, patience: Patience) -> None:
        self._send = send
        self._clock = clock
        self._metrics = metrics
        self._patience = patience
        self.ended = False

    async def send(self, message: Message) -> None:
        for piece in _pieces(message):
            began_s = self._clock.monotonic()
            try:
                if self.ended or self._patience.left_s == 0:
                    raise TimeoutError
                async with asyncio.timeout(self._patience.left_s):
                    await self._send(piece)
            except TimeoutError:
                self._end()
                raise _EndedError from None
            moved = len(piece.get("body", b""))
            self._patience.waited(self._clock.monotonic() - began_s, moved)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._metrics.slow_clients.labels("download").inc()
            log.info("response cut off: the client does not read it")


def _pieces(message: Message) -> Iterator[Message]:
    """The message, in pieces where its body is long."""
    body: bytes = message.get("body", b"")
    if message["type"] != "http.response.body" or len(body) <= PIECE_BYTES:
        yield message
        return
    for start in range(0, len(body), PIECE_BYTES):
        end = start + PIECE_BYTES
        more = end < len(body) or message.get("more_body", False)
        yield {**message, "body": body[start:end], "more_body": more}


class _Upload:
    def __init__(
        self, receive: Receive, clock: Clock, metrics: Metrics, patience: Patience
    ) -> None:
        self._receive = receive
        self._clock = clock
        self._metrics = metrics
        self._patience = patience
        self._complete = False

    async def receive(self) -> Message:
        """Raises HTTPException (408), which FastAPI lets through while it reads a body."""
        if self._complete:
            # What comes now is that the client went away; it may take its time.
            return await self._receive()
        began_s = self._clock.monotonic()
        try:
            if self._patience.left_s == 0:
                raise TimeoutError
            async with asyncio.timeout(self._patience.left_s):
                message = await self._receive()
        except TimeoutError:
            self._metrics.slow_clients.labels("upload").inc()
            raise HTTPException(
                408, "The body did not arrive in time.", headers={"Connection": "close"}
            ) from None
        self._patience.waited(self._clock.monotonic() - began_s, len(message.get("body", b"")))
        self._complete = not message.get("more_body", False)
        return message
