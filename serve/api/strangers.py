"""Requests without a key whose bodies are read: how many may be under way.

A body may come slowly, and a replica has 1,000 places for requests. Without a bound, strangers who
send the bodies of a thousand sign-ins byte by byte leave no place for anybody.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.errors import AtalaiaError, UnavailableError
from serve.api.auth import OPEN, client_address
from serve.api.problems import TooManyRequestsError, response_for
from serve.api.slots import Slots
from serve.api.throttle import network_of, site_of

# A quarter of what a replica takes (`serve.api.deployment`).
MAX_UNDER_WAY = 256
# An office behind one address, when everybody comes back from a fire drill.
MAX_PER_SITE = 32


class LimitStrangers:
    """ASGI middleware: refuses before it reads."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        paths: Collection[str] = OPEN,
        max_under_way: int = MAX_UNDER_WAY,
        max_per_site: int = MAX_PER_SITE,
    ) -> None:
        self._app = app
        self._paths = paths
        self._max_under_way = max_under_way
        self._max_per_site = max_per_site
        self._slots = Slots()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_open(scope):
            await self._app(scope, receive, send)
            return
        site = site_of(network_of(client_address(scope)))
        refusal = self._refusal(site)
        if refusal is not None:
            await response_for(refusal)(scope, receive, send)
            return
        with self._slots.hold(site):
            await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return path in self._paths

    def _refusal(self, site: str) -> AtalaiaError | None:
        if self._slots.of(site) >= self._max_per_site:
            return TooManyRequestsError(
                "Too many requests of your network are under way.", hint="Try again in a moment."
            )
        if self._slots.taken >= self._max_under_way:
            return UnavailableError("Too many requests are under way.", hint="Try again.")
        return None
