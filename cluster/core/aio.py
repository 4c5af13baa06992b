"""Helpers that asyncio lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager


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
