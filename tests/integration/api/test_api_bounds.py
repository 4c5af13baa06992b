"""Whatever a stranger sends, the answer is a 4xx problem, and nobody else waits for it.

Requests are written byte by byte: a client library would not send most of them.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve.api.app import create_app
from serve.api.middleware import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_HEADERS_BYTES,
    MAX_TARGET_BYTES,
)
from tests.integration.api.world import World, served

JSON = "Content-Type: application/json"


def form(*more: str) -> str:
    return "; ".join(("Content-Type: multipart/form-data", *more))


def request(
    target: str, *headers: str, method: str = "GET", body: bytes = b"", host: str = "localhost"
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


@dataclass(frozen=True)
class Answer:
    status: int
    head: str
    body: bytes


async def send(url: str, data: bytes) -> Answer:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]), head.decode("latin-1").lower(), body)


def assert_problem(answer: Answer, *statuses: int) -> dict[str, object]:
    assert answer.status in statuses, (answer.status, answer.body[:300])
    assert "content-type: application/problem+json" in answer.head
    problem: dict[str, object] = json.loads(answer.body)
    assert problem["status"] == answer.status
    # What errors quote is bounded, whatever was sent.
    assert len(answer.body) < 2_000
    return problem


STRANGERS = {
    "the address that stopped the loop": (request("/" + "a." * 12_000), 414),
    "an address just too long": (request("/".ljust(MAX_TARGET_BYTES + 1, "a")), 414),
    "a query just too long": (request("/?".ljust(MAX_TARGET_BYTES + 2, "a")), 414),
    "the longest address": (request("/".ljust(MAX_TARGET_BYTES, "a")), 404),
    "a name longer than files have": (request("/" + "a" * 256), 404),
    "a name of more bytes than characters": (request("/" + "%C3%A9" * 200), 404),
    "NUL": (request("/a%00b"), 404),
    "half a surrogate pair": (request("/%ED%A0%80"), 404),
    "no UTF-8": (request("/%FF%FE"), 404),
    "the folder above": (request("/%2e%2e"), 404),
    "a file above": (request("/..%2f..%2fapp.py"), 404),
    "a hidden file": (request("/.gitkeep"), 404),
    "a folder": (request("/assets"), 404),
    "a long asset": (request("/assets/" + "a" * 300), 404),
    "a deep asset": (request("/assets/" + "a/" * 3_000), 404),
    "an asset with NUL": (request("/assets/a%00b"), 404),
    "an asset above": (request("/assets/..%2f..%2fapp.py"), 404),
    "a long header": (request("/", f"X: {'a' * MAX_HEADER_BYTES}"), 431),
    "a megabyte of header": (request("/", f"X: {'a.' * 500_000}"), 431),
    "large headers": (
        request("/", *[f"X{n}: {'a' * (MAX_HEADER_BYTES - 99)}" for n in range(5)]),
        431,
    ),
    "many headers": (request("/", *[f"X{n}: a" for n in range(MAX_HEADERS)]), 431),
    "a long key": (request("/v1/cameras", f"Authorization: Bearer {'a.' * 4_000}"), 401),
    "a key behind spaces": (request("/v1/cameras", f"Authorization: Bearer{' ' * 8_000}x"), 401),
    "a key that is no ASCII": (request("/v1/cameras", "Authorization: Bearer \xff\xfe"), 401),
    "a long link": (request("/media/" + "a" * 3_000), 422),
    "a link of nothing": (request("/media/" + "a." * 1_000), 403),
    "a long method": (request("/openapi.json", method="PATCH"), 405),
}

ZONE = {"kind": "zone_entry", "polygon": [[0, 0], [1, 0], [1, 1]]}


def rule(**fields: object) -> bytes:
    return request(
        "/v1/cameras/gate/rules", JSON, method="POST", body=json.dumps(ZONE | fields).encode()
    )


def camera(body: bytes) -> bytes:
    return request("/v1/cameras", JSON, method="POST", body=body)


# With a key: each place where the API reads something.
TENANTS = {
    "a long media type": (
        request("/v1/detect", f"Content-Type: {'a.' * 4_000}", method="POST"),
        415,
    ),
    "a long media type of a search": (
        request("/v1/search", f"Content-Type: {'a.' * 4_000}", method="POST"),
        415,
    ),
    "no boundary": (request("/v1/detect", form(), method="POST", body=b"x"), 400),
    "an empty boundary": (request("/v1/detect", form("boundary="), method="POST", body=b"x"), 400),
    "a long boundary": (
        request("/v1/detect", form(f"boundary={'x' * 8_000}"), method="POST", body=b"x"),
        400,
    ),
    "quotes": (
        request("/v1/detect", form("boundary=a", 'x="\\' * 1_500), method="POST", body=b"--a\r\n"),
        422,
    ),
    "many part headers": (
        request(
            "/v1/search",
            form("boundary=a"),
            method="POST",
            body=b"--a\r\n" + b"X: a\r\n" * 10_000 + b"\r\nv\r\n--a--\r\n",
        ),
        400,
    ),
    "deep JSON": (camera(b"[" * 200_000), 400),
    "deep JSON of a search": (
        request("/v1/search", JSON, method="POST", body=b"[" * 200_000),
        400,
    ),
    "a long number": (camera(b'{"id": ' + b"9" * 100_000 + b"}"), 400),
    "half a surrogate pair in a name": (camera(b'{"\\ud800": 1}'), 422),
    "half a surrogate pair in a value": (camera(b'{"id": "\\ud800", "url": "\\ud800"}'), 422),
    "a long name in JSON": (camera(json.dumps({"a." * 100_000: 1}).encode()), 422),
    "no UTF-8 in JSON": (camera(b'"\xff"'), 400),
    "a long time zone": (
        rule(
            schedule={
                "timezone": "a." * 100_000,
                "windows": [{"start": "22:00", "end": "06:00"}],
            }
        ),
        422,
    ),
    "a long kind": (rule(kind="a." * 100_000), 422),
    "a long IPv6 address": (
        camera(json.dumps({"id": "a", "url": f"rtsp://[{':' * 2_000}]/"}).encode()),
        422,
    ),
    "many @": (
        camera(json.dumps({"id": "a", "url": "rtsp://" + "a:@" * 680}).encode()),
        422,
    ),
    "a long camera": (request("/v1/cameras/" + "a" * 7_000), 422),
    "a long alarm": (request("/v1/alarms/" + "a" * 7_000), 422),
    "a long track": (request("/v1/tracks/" + "a" * 7_000), 422),
    "a track of escapes": (request("/v1/tracks/" + "%25" * 255), 404),
    "a long picture": (request("/v1/snapshots/" + "a/" * 250 + ".jpg"), 422),
    "a picture with a long name": (request("/v1/snapshots/" + "a" * 400 + ".jpg"), 422),
    "a long cursor": (request("/v1/alarms?cursor=" + "a" * 7_000), 422),
    "a cursor of NUL": (request("/v1/alarms?cursor=%00"), 422),
    "a cursor of emoji": (request("/v1/objects?cursor=%F0%9F%98%80"), 422),
    "a long limit": (request("/v1/alarms?limit=" + "9" * 7_000), 422),
    "a long time": (request("/v1/alarms?since=" + "9" * 7_000), 422),
    "an endless time": (request("/v1/alarms?since=1e400"), 422),
    "a time beyond 9999": (
        request("/v1/analytics/counts?since=9999-12-31T23:59:59-12:00"),
        422,
    ),
    "a zone above": (request("/v1/analytics/counts?tz=../../etc/passwd"), 422),
    "a zone of NUL": (request("/v1/analytics/counts?tz=%00"), 422),
    "a long grid": (
        request(f"/v1/analytics/heatmap?camera=gate&grid={'9' * 4_000}x1"),
        422,
    ),
    "many classes": (
        request(
            "/v1/detect?" + "classes=a&" * 800,
            form("boundary=a"),
            method="POST",
            body=b'--a\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nv'
            b"\r\n--a--\r\n",
        ),
        422,
    ),
    "a long Last-Event-ID": (
        request("/v1/alarms/stream", f"Last-Event-ID: {'9' * 8_000}"),
        422,
    ),
}


@pytest.mark.parametrize("what", STRANGERS)
async def test_what_a_stranger_sends(world: World, what: str) -> None:
    data, status = STRANGERS[what]
    assert_problem(await send(world.url, data), status)


@pytest.mark.parametrize("what", TENANTS)
async def test_what_a_tenant_sends(world: World, what: str) -> None:
    data, status = TENANTS[what]
    line, _, rest = data.partition(b"\r\n")
    key = f"Authorization: Bearer {world.keys['acme']}".encode()
    assert_problem(await send(world.url, b"\r\n".join((line, key, rest))), status)


async def test_what_is_within_the_bounds_is_read(world: World) -> None:
    key = f"Authorization: Bearer {world.keys['acme']}"
    size = (MAX_HEADERS_BYTES - 1_000) // (MAX_HEADERS - 10)
    many = [f"X-{n:03}: {'a' * (size - 5)}" for n in range(MAX_HEADERS - 10)]
    large = f"Cookie: {'a' * (MAX_HEADER_BYTES - 6)}"
    for headers in ([large], many):
        assert (await send(world.url, request("/v1/session", key, *headers))).status == 200


async def test_times_end_with_the_calendar(world: World) -> None:
    """Where an offset moves them beyond, they count as its last moment."""
    acme = await world.client("acme")
    body = (
        await acme.get(
            "/v1/analytics/counts",
            params={"since": "9999-12-01T00:00:00Z", "until": "9999-12-31T23:59:59-12:00"},
        )
    ).json()
    assert body["until"] == "9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=1-2", 206, b"bc"),
        ("bytes=0-0,2-3", 200, b"abcdef"),
        ("bytes=" + "0-0," * 1_000, 200, b"abcdef"),
        ("bytes=" + " " * 8_000 + "x", 200, b"abcdef"),
        ("furlongs=1-2", 200, b"abcdef"),
        ("bytes", 200, b"abcdef"),
        ("bytes=9-", 416, None),
        ("bytes=" + "9" * 8_000 + "-", 200, b"abcdef"),
    ],
)
async def test_ranges_of_the_pages_files(
    world: World, tmp_path: Path, asked: str, status: int, body: bytes | None
) -> None:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    for file in (static / "index.html", static / "icon.svg", static / "assets" / "a.js"):
        file.write_bytes(b"abcdef")
    async with served(create_app(world.deps, static=static)) as url:
        for path in ("/", "/icon.svg", "/assets/a.js"):
            answer = await send(url, request(path, f"Range: {asked}"))
            if body is None:
                assert assert_problem(answer, status)["code"] == "range-not-satisfiable"
            else:
                assert (answer.status, answer.body) == (status, body), path


async def test_a_page_that_is_built_later_is_there_at_once(world: World, tmp_path: Path) -> None:
    static = tmp_path / "static"
    async with served(create_app(world.deps, static=static)) as url:
        assert (await send(url, request("/"))).status == 503
        assert (await send(url, request("/icon.svg"))).status == 404
        static.mkdir()
        (static / "index.html").write_text("page")
        (static / "icon.svg").write_text("icon")
        (static / "folder").mkdir()
        assert (await send(url, request("/"))).body == b"page"
        assert (await send(url, request("/icon.svg"))).body == b"icon"
        assert_problem(await send(url, request("/folder")), 404)


async def test_an_unforeseen_failure_logs_the_head_of_its_address(
    world: World, logs: io.StringIO
) -> None:
    @world.app.get("/broken/{rest:path}")
    async def broken(rest: str) -> None:
        raise RuntimeError(rest)

    # Before the routes of the page's files, which take any name.
    world.app.router.routes.insert(0, world.app.router.routes.pop())
    await send(world.url, request("/broken/rtsp://viewer:hunter2@h/" + "a." * 4_000))
    [failure] = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert failure["path"].startswith("/broken/rtsp://***@h/a.a.")
    assert "hunter2" not in logs.getvalue()
    assert "RuntimeError" in failure["exception"]


# ---------------------------------------------------------------- nobody else waits


async def longest_step_s(work: Callable[[], Awaitable[object]]) -> float:
    """CPU seconds of the longest turn of the event loop, on which test and server both run, while
    `work` is done. The time of other processes is not in it."""
    steps: list[float] = []

    async def beat() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            steps.append(now - before)
            before = now

    beating = asyncio.create_task(beat())
    try:
        await work()
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
    return max(steps)


# The address of the measurement that led to these bounds took 10,000 times a plain one's.
MUCH_LONGER = 100


@pytest.mark.parametrize(
    "what",
    [
        "the address that stopped the loop",
        "the longest address",
        "a deep asset",
        "a megabyte of header",
        "a long key",
        "a long link",
    ],
)
async def test_the_loop_goes_on_turning(world: World, what: str) -> None:
    """While a stranger's worst is answered, no other request waits much longer than behind a plain
    one."""
    plain = request("/nothing")
    worst = STRANGERS[what][0]
    await send(world.url, plain)
    # The least of some: a garbage collection is nobody's fault.
    plain_s = min([await longest_step_s(lambda: send(world.url, plain)) for _ in range(5)])
    worst_s = min([await longest_step_s(lambda: send(world.url, worst)) for _ in range(5)])
    assert worst_s < MUCH_LONGER * plain_s
