"""Tasks that belong together end together; errors of others' code arrive as errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
from typing import Any

import pytest

from cluster.core.aio import all_or_none, as_future_error, call_foreign


async def test_results_come_in_the_order_of_their_coroutines() -> None:
    second = asyncio.Event()

    async def slow() -> str:
        await second.wait()
        return "slow"

    async def quick() -> str:
        second.set()
        return "quick"

    assert await all_or_none([slow(), quick()]) == ["slow", "quick"]
    assert await all_or_none([]) == []


async def test_where_one_fails_the_others_have_ended_and_nothing_is_left_unobserved() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    ended: list[str] = []

    async def fails(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        raise ValueError(f"after {after}")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("waits")

    async def fails_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("fails")
            raise KeyError("while ending")

    with pytest.raises(ValueError, match="after 2"):
        await all_or_none([waits(), fails(2), fails(3), fails_when_cancelled()])
    assert sorted(ended) == ["fails", "waits"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_caller_that_is_cancelled_takes_all_with_it() -> None:
    ended: list[int] = []

    async def waits(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    caller = asyncio.create_task(all_or_none(waits(number) for number in range(3)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert sorted(ended) == [0, 1, 2]


def test_a_plain_error_stays_the_same() -> None:
    error = OSError("disk")
    assert as_future_error(error) is error
    with pytest.raises(OSError, match="disk") as caught:
        call_foreign(_raising, error)
    assert caught.value is error
    assert call_foreign(max, 1, 2) == 2


@pytest.mark.parametrize(
    "error",
    [
        StopIteration("end"),
        asyncio.CancelledError("end"),
        concurrent.futures.CancelledError("end"),
        SystemExit("end"),
        KeyboardInterrupt("end"),
        GeneratorExit("end"),
    ],
)
async def test_what_no_future_can_hold_becomes_a_runtime_error(error: BaseException) -> None:
    with pytest.raises(RuntimeError, match=f"{type(error).__name__}: end") as caught:
        await asyncio.to_thread(call_foreign, _raising, error)
    assert caught.value.__cause__ is error
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(as_future_error(error))
    with pytest.raises(RuntimeError):
        await future


def _raising(error: BaseException) -> None:
    raise error
