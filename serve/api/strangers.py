"""Requests without a key whose bodies are read: how many may be under way.

A body may come slowly, and a replica has 1,000 places for requests. Without a bound, strangers who
send the bodies of a thousand sign-ins byte by byte leave no place for anybody. Browsers in which
somebody has signed in have places of their own, so that strangers cannot end their sessions.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.errors import AtalaiaError, UnavailableError
from serve.api.auth import OPEN, client_address, path_of
from serve.api.auth_routes import COOKIE, DEVICE_COOKIE
from serve.api.problems import TooManyRequestsError, response_for
from serve.api.sign_in import SignIn
from serve.api.slots import Slots
from serve.api.throttle import network_of, site_of

# Of strangers, and of known browsers as many: each a quarter of what a replica takes
# (`serve.api.deployment`).
MAX_UNDER_WAY = 256
# An office behind one address, when everybody comes back from a fire drill.
MAX_PER_SITE = 32
# A browser renews with one tab at a time.
MAX_PER_BROWSER = 4


class LimitStrangers:
    """ASGI middleware: refuses before it reads."""

    def __init__(
        self,
        app: ASGIApp,
        sign_in: SignIn,
        *,
        max_under_way: int = MAX_UNDER_WAY,
        max_per_site: int = MAX_PER_SITE,
        max_per_browser: int = MAX_PER_BROWSER,
    ) -> None:
        self._app = app
        self._sign_in = sign_in
        self._strangers = Slots(max_under_way, max_per_site)
        self._browsers = Slots(max_under_way, max_per_browser)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) not in OPEN:
            await self._app(scope, receive, send)
            return
        slots, owner = self._place(scope)
        if not slots.has_room(owner):
            await response_for(_refusal(slots, owner))(scope, receive, send)
            return
        with slots.hold(owner):
            await self._app(scope, receive, send)

    def _place(self, scope: Scope) -> tuple[Slots, str]:
        cookies = HTTPConnection(scope).cookies
        browser = self._sign_in.browser(cookies.get(COOKIE), cookies.get(DEVICE_COOKIE))
        if browser is not None:
            return self._browsers, browser
        return self._strangers, site_of(network_of(client_address(scope)))


def _refusal(slots: Slots, owner: str) -> AtalaiaError:
    # With nothing of its own under way, a caller waits for the requests of others.
    if slots.of(owner):
        return TooManyRequestsError(
            "Too many requests of your network are under way.", hint="Try again in a moment."
        )
    return UnavailableError("Too many requests are under way.", hint="Try again.")
