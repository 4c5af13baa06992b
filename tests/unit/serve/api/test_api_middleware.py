"""What heads of requests may have; integration/api/test_api_bounds.py has the same on a server."""

from __future__ import annotations

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.auth import path_of
from serve.api.middleware import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_HEADERS_BYTES,
    MAX_TARGET_BYTES,
    CheckHost,
    LimitBody,
    LimitHead,
    SecurityHeaders,
)


async def reached(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def nothing() -> Message:
    raise AssertionError("the body is not to be read")


async def status_of(**changes: object) -> int:
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        **changes,
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await LimitHead(reached)(scope, nothing, send)
    return int(sent[0]["status"])


HEADER = (b"x", b"a" * (MAX_HEADER_BYTES - 1))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"raw_path": b"/" * MAX_TARGET_BYTES}, 200),
        ({"raw_path": b"/" * (MAX_TARGET_BYTES + 1)}, 414),
        ({"raw_path": b"/", "query_string": b"a" * (MAX_TARGET_BYTES - 1)}, 200),
        ({"raw_path": b"/", "query_string": b"a" * MAX_TARGET_BYTES}, 414),
        # Servers need not give `raw_path`; what counts then is the path as it is read.
        ({"raw_path": None, "path": "é" * (MAX_TARGET_BYTES // 2)}, 200),
        ({"raw_path": None, "path": "é" * (MAX_TARGET_BYTES // 2 + 1)}, 414),
        ({"headers": [HEADER]}, 200),
        ({"headers": [(b"x", HEADER[1] + b"a")]}, 431),
        ({"headers": [(HEADER[1], b"xy")]}, 431),
        ({"headers": [(b"x", b"")] * MAX_HEADERS}, 200),
        ({"headers": [(b"x", b"")] * (MAX_HEADERS + 1)}, 431),
        ({"headers": [HEADER] * (MAX_HEADERS_BYTES // MAX_HEADER_BYTES)}, 200),
        ({"headers": [HEADER] * (MAX_HEADERS_BYTES // MAX_HEADER_BYTES) + [(b"x", b"")]}, 431),
    ],
)
async def test_bounds_of_heads(changes: dict[str, object], status: int) -> None:
    assert await status_of(**changes) == status


async def test_what_is_no_request_passes() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def send(_: Message) -> None:
        raise AssertionError("nothing is to be answered")

    await LimitHead(app)({"type": "lifespan"}, nothing, send)
    assert seen == [{"type": "lifespan"}]


# ------------------------------------------------------------ names of the API


async def status_for(*hosts: str, path: str = "/v1/session", names: tuple[str, ...] = ()) -> int:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
    app = CheckHost(reached, "https://Atalaia.example.com:8443", names)
    await app(scope, nothing, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host",
    [
        "atalaia.example.com",
        "ATALAIA.example.com:8443",
        "atalaia.example.com.",
        "localhost:8000",
        "127.0.0.1:8000",
        "192.0.2.1",
        "[::1]:8000",
    ],
)
async def test_the_apis_own_names_and_all_addresses_are_accepted(host: str) -> None:
    assert await status_for(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8443",
        "atalaia.example.com.evil.example",
        "evil-atalaia.example.com",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "2130706433",
        "",
        ":8000",
        "[evil.example]",
        "é",
    ],
)
async def test_other_names_are_refused(host: str) -> None:
    assert await status_for(host) == 421
    assert await status_for("127.0.0.1", host) == 421, "one of two"
    assert await status_for(host, path="/healthz") == 200
    assert await status_for(host, names=("*",)) == 200


async def test_names_can_be_added() -> None:
    assert await status_for("Serve:8000", names=("serve", "camserver.lan")) == 200
    assert await status_for("camserver.lan", names=("Serve", "CamServer.lan")) == 200
    assert await status_for() == 200, "HTTP/1.0 knows no Host, and no browser speaks it"


def under(root: str, path: str, *, host: bytes = b"x", length: int = 0) -> Scope:
    """A request for a path of the API, which a proxy serves under `root`."""
    return {
        "type": "http",
        "method": "POST",
        "path": root + path,
        "root_path": root,
        "query_string": b"",
        "headers": [(b"host", host), (b"content-length", str(length).encode())],
    }


async def answer(app: ASGIApp, scope: Scope) -> tuple[int, dict[bytes, bytes]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, nothing, send)
    return int(sent[0]["status"]), dict(sent[0]["headers"])


@pytest.mark.parametrize("root", ["", "/atalaia", "/v1"])
async def test_what_depends_on_the_path_does_so_under_a_proxys_path_too(root: str) -> None:
    check = CheckHost(reached, "https://watch.example", ())
    assert (await answer(check, under(root, "/healthz")))[0] == 200
    assert (await answer(check, under(root, "/v1/cameras")))[0] == 421
    body = LimitBody(reached, max_upload_bytes=10 * 1024 * 1024)
    sizes = {"/v1/detect": 10 * 1024 * 1024, "/v1/cameras": 256 * 1024, "/v1/auth/login": 8 * 1024}
    for path, size in sizes.items():
        assert (await answer(body, under(root, path, length=size)))[0] == 200
        assert (await answer(body, under(root, path, length=size + 10**6)))[0] == 413
    headers = SecurityHeaders(reached, "page", https=False)
    assert (await answer(headers, under(root, "/v1/cameras")))[1][b"cache-control"] == b"no-store"
    assert (await answer(headers, under(root, "/docs")))[1][b"content-security-policy"] != b"page"


def test_a_path_that_only_begins_like_the_proxys_is_one_of_its_own() -> None:
    """Routes see it so; a shorter one would need no key."""
    assert path_of({"path": "/v1/cameras", "root_path": "/v"}) == "/v1/cameras"
    assert path_of({"path": "/a/v1/cameras", "root_path": "/a"}) == "/v1/cameras"
    assert path_of({"path": "/a", "root_path": "/a"}) == ""
