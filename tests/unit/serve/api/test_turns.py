"""Heavy reads take turns, of all tenants and of each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from serve.api.problems import TooManyRequestsError
from serve.api.turns import HeavyReads


async def test_one_tenant_leaves_turns_to_the_others() -> None:
    reads = HeavyReads(total=3, per_tenant=2, wait_s=0.01)
    async with AsyncExitStack() as held:
        await held.enter_async_context(reads.turn("acme"))
        await held.enter_async_context(reads.turn("acme"))
        with pytest.raises(TooManyRequestsError):
            await held.enter_async_context(reads.turn("acme"))
        await held.enter_async_context(reads.turn("globex"))
        with pytest.raises(TooManyRequestsError):
            await held.enter_async_context(reads.turn("initech"))
    async with reads.turn("acme"):
        pass


async def test_sixty_at_once_are_two_at_a_time_and_all_of_them_get_their_turn() -> None:
    reads = HeavyReads(per_tenant=2, wait_s=60)
    running = most = done = 0

    async def read() -> None:
        nonlocal running, most, done
        async with reads.turn("acme"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            done += 1

    await asyncio.gather(*(read() for _ in range(60)))
    assert (most, done) == (2, 60)


async def test_a_turn_comes_back_from_who_is_cancelled_and_from_who_waited() -> None:
    reads = HeavyReads(total=1, per_tenant=1, wait_s=60)
    began = asyncio.Event()

    async def read() -> None:
        async with reads.turn("acme"):
            began.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(read())
    await began.wait()
    waiter = asyncio.create_task(read())
    await asyncio.sleep(0)
    for task in (waiter, holder):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with reads.turn("acme"):
        pass
