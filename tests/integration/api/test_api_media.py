"""`/media/<token>`: ranges, versions, and what a link does not open."""

from __future__ import annotations

import io
from dataclasses import replace

import httpx
import pytest

from pipelines.clock import ManualClock, SystemClock
from serve.api.app import create_app
from serve.api.media import BLOCK_BYTES
from tests.integration.api.world import World, problem, served

CONTENT = bytes(n * 31 % 251 for n in range(2 * BLOCK_BYTES + 1_000))
SIZE = len(CONTENT)
KEY = "clips/1.mp4"


@pytest.fixture
async def url(world: World) -> str:
    """A link to two blocks and a bit."""
    await world.blobs("acme").put(KEY, CONTENT)
    return await world.link("acme", KEY, "video/mp4")


async def test_the_whole_file_comes_in_blocks(anonymous: httpx.AsyncClient, url: str) -> None:
    async with anonymous.stream("GET", url) as response:
        received = [part async for part in response.aiter_raw()]
    assert b"".join(received) == CONTENT
    assert response.status_code == 200
    headers = response.headers
    assert headers["content-type"] == "video/mp4"
    assert headers["content-length"] == str(SIZE)
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["etag"].startswith('"')
    assert "content-disposition" not in headers
    assert headers["cache-control"].startswith("private, max-age=")
    assert 290 <= int(headers["cache-control"].rpartition("=")[2]) <= 300


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, SIZE),
        (f"bytes={BLOCK_BYTES - 1}-{BLOCK_BYTES}", BLOCK_BYTES - 1, BLOCK_BYTES + 1),
        (f"bytes={BLOCK_BYTES}-", BLOCK_BYTES, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=5-{SIZE * 2}", 5, SIZE),
    ],
)
async def test_one_range(
    anonymous: httpx.AsyncClient, url: str, asked: str, start: int, end: int
) -> None:
    response = await anonymous.get(url, headers={"Range": asked})
    assert response.status_code == 206
    assert response.content == CONTENT[start:end]
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["content-length"] == str(end - start)


async def test_a_range_beyond_the_end(anonymous: httpx.AsyncClient, url: str) -> None:
    response = await anonymous.get(url, headers={"Range": f"bytes={SIZE}-"})
    problem(response, 416, "range-not-satisfiable")
    assert response.headers["content-range"] == f"bytes */{SIZE}"


async def test_several_ranges_are_answered_with_the_whole(
    anonymous: httpx.AsyncClient, url: str
) -> None:
    response = await anonymous.get(url, headers={"Range": "bytes=0-1,5-6"})
    assert (response.status_code, response.content) == (200, CONTENT)


@pytest.mark.parametrize(
    ("headers", "status", "length"),
    [({}, 200, SIZE), ({"Range": "bytes=0-9"}, 206, 10)],
)
async def test_head_is_get_without_the_file(
    anonymous: httpx.AsyncClient, url: str, headers: dict[str, str], status: int, length: int
) -> None:
    head = await anonymous.head(url, headers=headers)
    get = await anonymous.get(url, headers=headers)
    assert (head.status_code, head.content) == (status, b"")
    assert head.headers["content-length"] == str(length)
    for name in ("etag", "content-type", "accept-ranges", "content-range"):
        assert head.headers.get(name) == get.headers.get(name)


async def test_who_has_this_version_gets_none_or_the_rest(
    anonymous: httpx.AsyncClient, url: str, world: World
) -> None:
    etag = (await anonymous.head(url)).headers["etag"]
    assert (await anonymous.get(url, headers={"If-None-Match": etag})).status_code == 304
    rest = {"Range": "bytes=10-", "If-Range": etag}
    assert (await anonymous.get(url, headers=rest)).status_code == 206

    await world.blobs("acme").put(KEY, CONTENT[::-1])

    changed = await anonymous.get(url, headers=rest)
    assert (changed.status_code, changed.content) == (200, CONTENT[::-1])
    assert changed.headers["etag"] != etag
    dated = {"Range": "bytes=10-", "If-Range": "Wed, 25 Nov 2026 12:00:00 GMT"}
    assert (await anonymous.get(url, headers=dated)).status_code == 200


async def test_a_name_makes_it_a_download(
    anonymous: httpx.AsyncClient, url: str, world: World
) -> None:
    response = await anonymous.head(await world.link("acme", KEY, "video/mp4", "acme-gate.mp4"))
    assert response.headers["content-disposition"] == 'attachment; filename="acme-gate.mp4"'


async def test_nothing_is_there(anonymous: httpx.AsyncClient, world: World) -> None:
    problem(
        await anonymous.get(await world.link("acme", "clips/2.mp4", "video/mp4")), 404, "not-found"
    )
    # A folder is no blob, and a blob no folder.
    problem(await anonymous.get(await world.link("acme", "clips", "video/mp4")), 404, "not-found")
    problem(
        await anonymous.get(await world.link("acme", f"{KEY}/x", "video/mp4")), 404, "not-found"
    )


async def test_an_empty_file(anonymous: httpx.AsyncClient, world: World) -> None:
    await world.blobs("acme").put("empty", b"")
    response = await anonymous.get(await world.link("acme", "empty", "text/vtt"))
    assert (response.status_code, response.content) == (200, b"")


async def test_one_tenant_s_link_never_opens_another_s_file(
    anonymous: httpx.AsyncClient, url: str, world: World
) -> None:
    """Both have a file of the same key."""
    await world.blobs("globex").put(KEY, b"globex only")
    assert (await anonymous.get(url)).content == CONTENT
    theirs = await world.link("globex", KEY, "video/mp4")
    assert (await anonymous.get(theirs)).content == b"globex only"
    # The body of one under the signature of the other.
    mine, other = url.split("."), theirs.split(".")
    mixed = ".".join((mine[0], other[1], mine[2]))
    problem(await anonymous.get(mixed), 403, "forbidden")
    # A key beside the link changes nothing.
    acme = await world.client("acme")
    assert (await acme.get(theirs)).content == b"globex only"
    problem(await acme.get(mixed), 403, "forbidden")


async def test_a_link_ends(url: str, world: World) -> None:
    clock = ManualClock(SystemClock().now_us())
    app = create_app(replace(world.deps, clock=clock))
    async with served(app) as base, httpx.AsyncClient(base_url=base, timeout=30) as client:
        assert (await client.head(url)).status_code == 200
        clock.advance(world.deps.settings.api.media_url_ttl_s + 1)
        body = problem(await client.get(url), 403, "forbidden")
    assert "expired" in str(body["detail"])
    assert "GET /v1/alarms/{id}/clip" in str(body["hint"])


async def test_replicas_open_each_other_s_links(url: str, world: World) -> None:
    async with (
        served(create_app(world.deps)) as base,
        httpx.AsyncClient(base_url=base, timeout=30) as client,
    ):
        assert (await client.head(url)).status_code == 200


async def test_no_token_is_logged_or_counted(
    anonymous: httpx.AsyncClient, url: str, world: World, logs: io.StringIO
) -> None:
    token = url.removeprefix("/media/")
    world.state.evidence.links.open = None  # a failure that nobody foresaw

    problem(await anonymous.get(url), 500, "internal")

    said = logs.getvalue() + (await anonymous.get("/metrics")).text
    assert "/media/***" in logs.getvalue()
    assert token not in said
    assert token.split(".")[1] not in said
