"""A budget gives everyone their share in turn, and loses none when a task is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from serve.api.memory_budget import MemoryBudget


async def started(budget: MemoryBudget, *sizes: int) -> list[asyncio.Task[None]]:
    """Tasks that ask for these sizes, in this order, and have had their chance to get them."""
    tasks = [asyncio.create_task(budget.acquire(size)) for size in sizes]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_what_fits_comes_at_once() -> None:
    budget = MemoryBudget(10)

    await budget.acquire(4)
    await budget.acquire(6)

    assert budget.free == 0


async def test_a_large_share_is_not_overtaken() -> None:
    budget = MemoryBudget(10)
    await budget.acquire(5)

    large, small = await started(budget, 8, 1)
    assert not large.done()
    assert not small.done()

    budget.release(5)
    await asyncio.gather(large, small)
    assert budget.free == 1


async def test_one_release_serves_as_many_as_fit() -> None:
    budget = MemoryBudget(10)
    await budget.acquire(10)
    first, second, third = await started(budget, 4, 4, 4)

    budget.release(10)
    await asyncio.gather(first, second)
    assert not third.done()

    budget.release(4)
    await third


async def test_a_cancelled_wait_lets_the_next_one_in() -> None:
    budget = MemoryBudget(10)
    await budget.acquire(5)
    large, small = await started(budget, 8, 2)

    large.cancel()
    await small

    assert budget.free == 3


async def test_a_share_that_comes_together_with_the_cancellation_goes_back() -> None:
    budget = MemoryBudget(10)
    await budget.acquire(10)
    (waiting,) = await started(budget, 10)

    budget.release(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert budget.free == 10


@pytest.mark.parametrize("size", [11, -1])
async def test_what_can_never_be_had_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match="can never be had"):
        await MemoryBudget(10).acquire(size)
