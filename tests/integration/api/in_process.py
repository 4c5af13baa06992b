"""The application called in this process, without a server and a connection: a tenth of the time.

Each call comes from an address of its own, so that no limit by address stands between two calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count

import httpx
from fastapi import FastAPI
from starlette.types import Message, Scope

BASE = "http://127.0.0.1"
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class InProcess:
    """Calls `app`, whose lifespan must have begun in this event loop."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._calls = count(1)

    async def ask(self, request: httpx.Request) -> Answer:
        """The whole answer. Raises TimeoutError: it does not end."""
        return await self.stream(request, lambda _: False)

    async def stream(
        self,
        request: httpx.Request,
        enough: Callable[[bytes], bool],
        begun: Callable[[], Awaitable[None]] | None = None,
    ) -> Answer:
        """An answer until it ends, or until `enough(body so far)`; then the client hangs up.

        Args:
            begun: called once, when the first bytes of a body are there.
        """
        call = _Call(self._scope(request), request.read(), enough)
        async with asyncio.timeout(TIMEOUT_S):
            running = asyncio.create_task(self._run(call))
            try:
                if begun is not None:
                    await call.first_bytes.wait()
                    await begun()
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return Answer(call.status, call.headers, bytes(call.body))

    async def _run(self, call: _Call) -> None:
        try:
            await self._app(call.scope, call.receive, call.send)
        finally:
            call.first_bytes.set()

    def _scope(self, request: httpx.Request) -> Scope:
        number = next(self._calls)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        path, _, query = request.url.raw_path.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.url.path,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": (address, 40_000),
            "server": ("127.0.0.1", 80),
            "state": {},
        }


class _Call:
    """One exchange, as ASGI has it."""

    def __init__(self, scope: Scope, body: bytes, enough: Callable[[bytes], bool]) -> None:
        self.scope = scope
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.first_bytes = asyncio.Event()
        self._sent: bytes | None = body
        self._enough = enough
        self._over = asyncio.Event()

    async def receive(self) -> Message:
        if self._sent is not None:
            body, self._sent = self._sent, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in message["headers"]
            }
            return
        self.body += message.get("body", b"")
        if self.body:
            self.first_bytes.set()
        if not message.get("more_body", False) or self._enough(bytes(self.body)):
            self._over.set()
