"""What heads of requests may have; integration/api/test_api_bounds.py has the same on a server."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.api.middleware import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_HEADERS_BYTES,
    MAX_TARGET_BYTES,
    CheckHost,
    LimitHead,
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
