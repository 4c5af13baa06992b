"""An answer that is sent only as long as the key or session of its request is good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.core.log import get_logger
from pipelines.clock import Clock

# With the two seconds for which credentials are remembered, an answer ends within five.
RECHECK_S = 2.0

# They check by themselves, and end between two events.
EVENT_STREAM = "text/event-stream"

log = get_logger("api")


class EndedError(Exception):
    """Unwinds an application whose answer has no right to go on; goes no further."""


class HeldAnswer:
    """One answer. Its first piece is never checked: a request that ends its own key is answered."""

    def __init__(self, send: Send, still_good: Callable[[], Awaitable[bool]], clock: Clock) -> None:
        self._send = send
        self._still_good = still_good
        self._clock = clock
        self._next_s = clock.monotonic() + RECHECK_S
        self._checked = False
        self._events = False
        self._ended = False

    async def of(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Have `app` answer."""
        try:
            await app(scope, receive, self.send)
        except Exception:
            # The server closes the connection of an answer that has no end.
            if not self._ended:
                raise

    async def send(self, message: Message) -> None:
        """Raises EndedError: the answer was cut off."""
        if message["type"] == "http.response.start":
            content_type = Headers(raw=message.get("headers", [])).get("content-type", "")
            self._events = content_type.startswith(EVENT_STREAM)
        elif self._checked and self._clock.monotonic() >= self._next_s:
            await self._check()
        else:
            self._checked = not self._events
        await self._send(message)

    async def _check(self) -> None:
        if not self._ended and await self._still_good():
            self._next_s = self._clock.monotonic() + RECHECK_S
            return
        if not self._ended:
            log.info("answer cut off: its key or session has ended")
        self._ended = True
        raise EndedError
