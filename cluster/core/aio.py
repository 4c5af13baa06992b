"""Helpers that asyncio lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@contextmanager
def keep_cancellation() -> Iterator[None]:
    """Re-raise, at the end of the block, a cancellation that was swallowed inside it.

    Until Python 3.12, `asyncio.wait_for` swallows a cancellation that arrives just as its awaitable
    completes. Libraries use it on their hot paths (redis-py for every write): of 120 commands
    cancelled at different steps, 18 continued as if nothing had happened, and awaiting the end of
    their tasks blocked forever.

    Raises:
        asyncio.CancelledError: a cancellation was swallowed.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


async def until_first_ends(*coroutines: Coroutine[None, None, None]) -> None:
    """Run coroutines concurrently until one of them ends, and cancel the others.

    Raises the exception of a coroutine that failed by itself.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def as_future_error(error: BaseException) -> Exception:
    """`error` as a future can hold it for those who await the future.

    A future refuses StopIteration (until Python 3.12 `run_in_executor` then never returns), and who
    awaits one would take a CancelledError for its own cancellation, a SystemExit for the end of the
    process. These become a RuntimeError with the original as its cause.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration | FutureCancelledError):
        return error
    wrapped = RuntimeError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def call_foreign(call: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Call code of others, which may raise anything, in a thread whose result a loop awaits.

    Raises:
        Exception: what it raised, as `as_future_error` has it.
    """
    try:
        return call(*arguments)
    # The top of a thread's work: nothing may be lost on its way to the loop.
    except BaseException as error:
        held = as_future_error(error)
        if held is error:
            raise
        raise held from error


async def all_or_none(coroutines: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """The results of all, in their order; where one fails, the others are cancelled and have ended.

    `asyncio.gather` lets them run on, after their caller has gone.

    Raises:
        Exception: that of the first one that failed.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
