"""Pictures that are made to hurt: bounded memory, a clear answer, and an API that keeps working."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from cluster.core.settings import Settings
from serve.api.images import DECODER_THREADS
from serve.api.uploads import MAX_FIELD_BYTES, MAX_FIELDS, MAX_UPLOADS_PER_TENANT
from tests.hostile_pictures import (
    ACCEPTED,
    bmp,
    chunk,
    encoded,
    frame_patched,
    many_groups_webp,
    many_scans,
    png,
    segment,
    with_segments,
)
from tests.integration.api.world import World, eventually, open_world, problem

# For one of the larger kinds at a time: the eight would take 330 to 500 MB, two at once.
MEMORY_MB = 248

# Kinds whose bombs are never opened: nothing of them takes longer than a request does.
SMALL = ("PNG compressed texts", "JPEG EXIF refers to itself")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"api": settings.api.model_copy(update={"image_memory_mb": MEMORY_MB})}
    )


@pytest.fixture
async def world(settings: Settings, migrated: Path) -> AsyncIterator[World]:
    async with open_world(settings, migrated) as world:
        yield world


async def send(client: httpx.AsyncClient, data: bytes) -> httpx.Response:
    return await client.post("/v1/detect", files={"image": ("a", data)}, timeout=120)


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def peak_set_back() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


async def longest_turn_s(ended: asyncio.Event) -> float:
    """The most processor time that the event loop's thread spent before a task that only wants its
    turn came to it. On a busy machine this is not the time that passed."""
    longest, last = 0.0, time.thread_time()
    while not ended.is_set():
        await asyncio.sleep(0.001)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("kind", "route"),
    [
        ("PNG palette, transparent", "/v1/detect"),
        ("PNG 16 bits gray", "/v1/detect"),
        ("PNG compressed texts", "/v1/detect"),
        ("JPEG EXIF refers to itself", "/v1/detect"),
        ("WebP lossy", "/v1/detect"),
        ("BMP run-length", "/v1/detect"),
        ("JPEG turned", "/v1/search"),
        ("PNG wide", "/v1/search"),
    ],
)
async def test_eight_at_once_stay_within_the_budget(
    acme: httpx.AsyncClient, world: World, kind: str, route: str
) -> None:
    data = ACCEPTED[kind]()
    # So that what the first picture loads is not counted.
    assert (await send(acme, encoded("PNG", size=(64, 64)))).status_code == 200
    before, began = peak_set_back(), time.process_time()

    ended = asyncio.Event()
    turn = asyncio.create_task(longest_turn_s(ended))
    answers = await asyncio.gather(
        *(acme.post(route, files={"image": ("a", data)}, timeout=120) for _ in range(8))
    )
    took = time.process_time() - began
    ended.set()

    assert [answer.status_code for answer in answers] == [200] * 8
    # Beside the budget: bodies on both ends of the connections, threads that read headers, results.
    assert peak_bytes() - before < MEMORY_MB * 2**20 + 8 * 3 * len(data) + 40_000_000
    # One of the eight that blocked the loop would be an eighth of the time. The small ones take
    # less than their requests do.
    assert await turn < took / 8 or kind in SMALL
    assert world.state.decoder.reserved_bytes == 0
    assert world.state.uploads.taken == 0


def _chunks(count: int) -> bytes:
    return png(8, 0, size=(64, 64), before=chunk(b"tEXt", b"") * count)


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (lambda: png(8, 0, size=(1, 39_000_000)), 413, "65,535"),
        (lambda: png(1, 0, size=(39_000_000, 1)), 413, "65,535"),
        (lambda: encoded("WEBP", "RGBA", (7300, 5465), lossless=True), 413, "MB"),
        (lambda: many_groups_webp((1024, 1024)), 413, "MB"),
        (lambda: many_scans(30), 413, "scans"),
        (lambda: bmp(8, size=(7300, 5465), compression=1, pixels=b"\0\1"), 413, "run-length"),
        (lambda: bmp(24, size=(5000, 5000), pixels=b"\0" * 100), 422, "cut off"),
        (lambda: bmp(24, size=(2**31 - 1, 1), pixels=b""), 413, "65,535"),
        (lambda: bmp(8, size=(5, 5), compression=4, pixels=b"\0" * 100), 422, "broken"),
        (lambda: _chunks(80_000), 413, "parts"),
        (
            lambda: with_segments(encoded("JPEG", size=(8, 8)), [segment(0xFE, b"")] * 80_000),
            413,
            "parts",
        ),
        (lambda: frame_patched(encoded("JPEG", size=(8, 8)), bits=12), 415, "12 bits"),
        (lambda: frame_patched(encoded("JPEG", size=(8, 8)), height=0), 415, "DNL"),
    ],
)
async def test_what_would_hurt_is_refused_and_says_why(
    acme: httpx.AsyncClient, world: World, data: Callable[[], bytes], status: int, says: str
) -> None:
    body = problem(await send(acme, data()), status)

    assert says in str(body["detail"])
    assert body["hint"]
    assert world.detector.frames == []


async def test_a_form_of_many_or_long_fields_is_not_kept_in_memory(
    acme: httpx.AsyncClient,
) -> None:
    picture = encoded("PNG", size=(8, 8))
    many = {f"f{number}": "x" for number in range(MAX_FIELDS + 1)}
    long = {"f": "x" * (MAX_FIELD_BYTES + 1)}

    for fields in (many, long):
        answer = await acme.post("/v1/detect", data=fields, files={"image": ("a", picture)})
        problem(answer, 400, "malformed-request")
    answer = await acme.post("/v1/detect", data={"f": "x"}, files={"image": ("a", picture)})
    assert answer.status_code == 200


async def test_bodies_that_never_end_leave_room_for_other_tenants(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, world: World
) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        await ended.wait()
        yield b"\r\n--b--\r\n"

    form = {"content-type": "multipart/form-data; boundary=b"}
    slow = [
        asyncio.create_task(
            (await world.client("acme")).post("/v1/detect", content=endless(), headers=form)
        )
        for _ in range(MAX_UPLOADS_PER_TENANT)
    ]

    async def all_in_hand() -> bool:
        return bool(world.state.uploads.taken == MAX_UPLOADS_PER_TENANT)

    await eventually(all_in_hand)
    picture = encoded("PNG", size=(8, 8))
    problem(await send(acme, picture), 503, "unavailable")
    assert (await send(globex, picture)).status_code == 200
    # Words are no upload.
    assert (await acme.post("/v1/search", json={"text": "red"})).status_code != 503

    ended.set()
    await asyncio.gather(*slow)
    assert (await send(acme, picture)).status_code == 200


async def test_the_threads_end_with_the_application(settings: Settings, migrated: Path) -> None:
    def threads() -> int:
        return sum(item.name.startswith("decode") for item in threading.enumerate())

    already = threads()
    other = settings.model_copy(update={"data_dir": settings.data_dir / "other"})
    async with open_world(other, migrated) as world:
        client = await world.client("acme")
        await asyncio.gather(*(send(client, encoded("PNG", size=(8, 8))) for _ in range(6)))
        assert 1 <= threads() - already <= DECODER_THREADS

    async def ended() -> bool:
        return threads() == already

    await eventually(ended)
