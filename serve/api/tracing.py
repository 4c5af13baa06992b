"""Which request a log line is of: the ids that came with it, or new ones.

`X-Request-ID` is any short name; Ray Serve, which is in front, makes one where the caller has none,
and returns it. `traceparent` is that of W3C Trace Context: a caller's trace goes on here, and the
answer names it together with our part.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

REQUEST_ID, TRACEPARENT = "x-request-id", "traceparent"
# Long enough for any UUID or hash. What else a caller sends does not get into the logs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
# Version 00; a later one begins with the same four fields. All zeros mean none.
_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-(?P<flags>[0-9a-f]{2})(?:-.*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """Attributes:
    request_id: of this request.
    trace_id: of all that belongs to what the caller does; 32 hexadecimal digits.
    span_id: of our part; 16.
    flags: of the caller, two hexadecimal digits: 01: recorded.
    """

    request_id: str
    trace_id: str
    span_id: str
    flags: str

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def trace_of(headers: Headers) -> RequestTrace:
    """What the caller says where it can be used, else new ids."""
    parents = headers.getlist(TRACEPARENT)
    # Two would contradict each other; a later version may say more, which is not for us.
    parent = _PARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    name = headers.get(REQUEST_ID, "")
    return RequestTrace(
        request_id=name if _NAME.fullmatch(name) else secrets.token_hex(16),
        trace_id=parent["trace"] if parent else secrets.token_hex(16),
        span_id=secrets.token_hex(8),
        flags=parent["flags"] if parent else "00",
    )


class TraceRequests:
    """ASGI middleware: every line that is logged for a request has `request_id` and `trace_id`, and
    every answer `traceparent`, and `X-Request-ID` unless the request had one: who is in front of us
    then returns it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trace = trace_of(headers)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer[TRACEPARENT] = trace.traceparent
                if REQUEST_ID not in headers:
                    answer[REQUEST_ID] = trace.request_id
            await send(message)

        with bound_contextvars(request_id=trace.request_id, trace_id=trace.trace_id):
            await self._app(scope, receive, named)
