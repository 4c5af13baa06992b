"""The decoder gives back places and memory, whatever becomes of a request, and ends its threads."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator

import pytest
from PIL import Image
from starlette.datastructures import UploadFile

from pipelines.errors import InputError, UnavailableError
from serve.api.images import (
    DECODER_THREADS,
    MAX_WAITING,
    MAX_WAITING_PER_TENANT,
    ImageDecoder,
    Rgb,
)
from serve.api.problems import TooLargeError

MEGABYTE = 1024 * 1024


def upload(size: tuple[int, int] = (64, 32), cut: int | None = None) -> UploadFile:
    buffer = io.BytesIO()
    Image.effect_noise(size, 80).save(buffer, "PNG")
    data = buffer.getvalue()[:cut]
    return UploadFile(io.BytesIO(data), size=len(data))


class Gate:
    """A `prepare` that stays in its thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.threads: set[str] = set()

    def __call__(self, pixels: Rgb) -> tuple[int, ...]:
        self.threads.add(threading.current_thread().name)
        self.entered.release()
        assert self.opened.wait(30)
        return pixels.shape


@pytest.fixture
async def decoder() -> AsyncIterator[ImageDecoder]:
    decoder = ImageDecoder(MEGABYTE, 40, 64 * MEGABYTE)
    yield decoder
    await decoder.aclose()


async def settled(decoder: ImageDecoder) -> None:
    """Returns when the decoder holds nothing; the test's timeout fails it otherwise."""
    while decoder.waiting or decoder.reserved_bytes:  # noqa: ASYNC110 - threads set no event
        await asyncio.sleep(0)


async def test_what_is_made_of_the_pixels_is_made_in_a_thread_of_the_decoder(
    decoder: ImageDecoder,
) -> None:
    gate = Gate()
    gate.opened.set()

    assert await decoder.decode(upload(), gate, tenant="acme") == (32, 64, 3)
    assert [name.startswith("decode") for name in gate.threads] == [True]
    await settled(decoder)


async def test_a_broken_picture_gives_everything_back(decoder: ImageDecoder) -> None:
    with pytest.raises(InputError, match="broken") as caught:
        await decoder.decode(upload(cut=1_500), Gate(), tenant="acme")

    await settled(decoder)
    # A traceback into the thread's frames would keep the half-decoded picture.
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_a_cancelled_request_keeps_its_memory_until_the_thread_is_through(
    decoder: ImageDecoder,
) -> None:
    gate = Gate()
    task = asyncio.create_task(decoder.decode(upload(), gate, tenant="acme"))
    await asyncio.to_thread(gate.entered.acquire)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert decoder.waiting == 0
    assert decoder.reserved_bytes > 0

    gate.opened.set()
    await settled(decoder)


async def test_who_waits_for_memory_or_a_thread_can_be_cancelled(decoder: ImageDecoder) -> None:
    """Each takes some 12 MB of 64, and two have threads, so of ten there are some of both kinds."""
    gate = Gate()
    tasks = [asyncio.create_task(decoder.decode(upload(), gate, tenant=str(n))) for n in range(10)]
    for _ in range(DECODER_THREADS):
        await asyncio.to_thread(gate.entered.acquire)

    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)

    gate.opened.set()
    await settled(decoder)
    assert not gate.entered.acquire(blocking=False)


async def test_what_cannot_fit_is_refused_and_says_what_to_do(decoder: ImageDecoder) -> None:
    with pytest.raises(TooLargeError, match="MB") as caught:
        await decoder.decode(upload((4_000, 4_000), cut=5_000), Gate(), tenant="acme")

    assert "Scale it down" in caught.value.hint
    await settled(decoder)


async def test_the_queue_is_bounded(decoder: ImageDecoder) -> None:
    gate = Gate()
    tasks = [
        asyncio.create_task(decoder.decode(upload(), gate, tenant=str(n)))
        for n in range(MAX_WAITING)
    ]
    await asyncio.sleep(0)

    with pytest.raises(UnavailableError, match="waiting"):
        await decoder.decode(upload(), gate, tenant="acme")

    gate.opened.set()
    assert await asyncio.gather(*tasks) == [(32, 64, 3)] * MAX_WAITING
    await settled(decoder)


async def test_one_tenant_leaves_half_of_the_queue_to_others(decoder: ImageDecoder) -> None:
    gate = Gate()
    tasks = [
        asyncio.create_task(decoder.decode(upload(), gate, tenant="acme"))
        for _ in range(MAX_WAITING_PER_TENANT)
    ]
    await asyncio.sleep(0)

    with pytest.raises(UnavailableError, match="waiting"):
        await decoder.decode(upload(), gate, tenant="acme")
    other = asyncio.create_task(decoder.decode(upload(), gate, tenant="globex"))
    await asyncio.sleep(0)
    gate.opened.set()

    assert await other == (32, 64, 3)
    await asyncio.gather(*tasks)
    await settled(decoder)


async def test_closing_ends_the_threads_and_refuses_the_rest() -> None:
    decoder, gate = ImageDecoder(MEGABYTE, 40, 64 * MEGABYTE), Gate()
    tasks = [asyncio.create_task(decoder.decode(upload(), gate, tenant="acme")) for _ in range(4)]
    for _ in range(DECODER_THREADS):
        await asyncio.to_thread(gate.entered.acquire)

    closing = asyncio.create_task(decoder.aclose())
    await asyncio.sleep(0)
    gate.opened.set()
    await closing
    await decoder.aclose()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes.count((32, 64, 3)) == DECODER_THREADS
    assert sum(isinstance(item, UnavailableError) for item in outcomes) == 2
    with pytest.raises(UnavailableError, match="stopping"):
        await decoder.decode(upload(), gate, tenant="acme")
    await settled(decoder)
