"""What every request passes: the name it is sent to, size limits of head and body, and headers that
keep browsers safe."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.auth import OPEN, path_of
from serve.api.problems import problem_response
from serve.dashboard import DOCS_POLICY

# The largest JSON body that makes sense is a rule with 64 corners and 32 windows: some 8 KB.
MAX_JSON_BYTES = 256 * 1024

# Without a key, who sends this is a stranger. Address, password and token have some 3 KB at most.
MAX_SIGN_IN_BYTES = 8 * 1024

# Boundaries, part headers and small fields around an uploaded file.
MULTIPART_OVERHEAD = 64 * 1024

# Path and query. The longest good ones are a link under /media (2 KiB) and 100 classes of 64
# letters for the detector (7 KiB).
MAX_TARGET_BYTES = 8 * 1024

# Our keys have 56 characters, the longest cookie that browsers keep has 4 KiB, and browsers send
# some 20 headers. 8 KiB for one and 32 KiB for all are nginx's defaults.
MAX_HEADER_BYTES = 8 * 1024
MAX_HEADERS_BYTES = 32 * 1024
MAX_HEADERS = 100

UPLOAD_PATHS = frozenset({"/v1/detect", "/v1/search"})


class LimitHead:
    """Refuses an address or headers that are too long, before anything reads them.

    The server in front does not: uvicorn with httptools takes a head of any size, and with h11 one
    of 64 KiB.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _head_refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)


def _head_refusal(scope: Scope) -> Response | None:
    """The answer to a request whose address or headers are over a limit; None: they are not."""
    if not scope["path"].isprintable():
        # A route's pattern ends before a line break, which whoever compares whole paths misses.
        return problem_response(404, "There is nothing at this address.")
    target = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if target > MAX_TARGET_BYTES:
        return problem_response(
            414, f"The address is longer than the {MAX_TARGET_BYTES:,} bytes that are read here."
        )
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    if len(sizes) > MAX_HEADERS:
        return problem_response(431, f"The request has more than {MAX_HEADERS} headers.")
    if max(sizes, default=0) > MAX_HEADER_BYTES:
        return problem_response(
            431, f"A header is longer than the {MAX_HEADER_BYTES:,} bytes that are read here."
        )
    if sum(sizes) > MAX_HEADERS_BYTES:
        return problem_response(
            431, f"The headers are longer than the {MAX_HEADERS_BYTES:,} bytes that are read here."
        )
    return None


# Probes and scrapers use the names of a cluster, and there is nothing to steal.
ANY_HOST = frozenset({"/healthz", "/readyz", "/metrics"})
_LOCAL = frozenset({"localhost"})
_PORT = re.compile(r":\d*$", re.ASCII)


class CheckHost:
    """Refuses requests for a name that is not the API's.

    A page of a stranger can make its own name resolve to this machine (DNS rebinding): a browser
    then counts the API as a part of that page, and lets it read every answer. Addresses are always
    accepted: no page has one as its name and another one behind it.

    Args:
        url: public address of the API.
        names: further names; `*` accepts every name.
    """

    def __init__(self, app: ASGIApp, url: str, names: Iterable[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names} | {urlsplit(url).hostname or ""} | _LOCAL

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and path_of(scope) not in ANY_HOST:
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            if not all(self._is_ours(host.decode("latin-1")) for host in hosts):
                await _misdirected()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = _PORT.sub("", host).lower().rstrip(".")
        if "*" in self._names or name in self._names:
            return True
        try:
            ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def _misdirected() -> Response:
    return problem_response(
        421,
        "This server is not known by the name that the request is for.",
        hint="Use the address in api.url, or add the name to api.allowed_hosts.",
    )


class LimitBody:
    """Refuses a body that is too large: at once by its declared length, else while it arrives."""

    def __init__(self, app: ASGIApp, max_upload_bytes: int) -> None:
        self._app = app
        self._max_upload = max_upload_bytes + MULTIPART_OVERHEAD

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(path_of(scope))
        declared = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > limit:
            await problem_response(413, _too_large(limit))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                # FastAPI lets an HTTPException through while it reads a body, and no other.
                raise HTTPException(413, _too_large(limit))
            return message

        await self._app(scope, counted, send)

    def _limit(self, path: str) -> int:
        if path in UPLOAD_PATHS:
            return self._max_upload
        return MAX_SIGN_IN_BYTES if path in OPEN else MAX_JSON_BYTES


def _too_large(limit: int) -> str:
    return f"The body is larger than the {limit:,} bytes that are accepted here."


class SecurityHeaders:
    """Headers on every answer.

    Args:
        app: what answers.
        page_policy: content security policy of all but the documents.
        https: whether browsers reach the API by HTTPS; they then use nothing else for a year
            (RFC 6797). Other names of the domain are not ours to decide on.
    """

    def __init__(self, app: ASGIApp, page_policy: str, *, https: bool) -> None:
        self._app = app
        self._pages = page_policy
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = path_of(scope)
        policy = DOCS_POLICY if path == "/docs" else self._pages
        private = path.startswith("/v1")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", policy)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("X-Frame-Options", "DENY")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
                headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                if self._https:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
                if private:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)
