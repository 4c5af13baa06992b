"""Looks keys up in the records: one query at a time, for all that wait.

Whoever floods the API with junk keys therefore costs the database one query after the other,
however many keys come, and a good key that waits among them goes with the next query: nobody has to
be refused to keep the database safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from itertools import islice
from typing import Generic, TypeVar

from cluster.core.log import get_logger
from cluster.stores.db import Principal
from pipelines.errors import AtalaiaError, UnavailableError

# SQLite takes 32,766 parameters in a statement, PostgreSQL twice as many.
MAX_BATCH = 500

# An API replica has at most 1,000 requests in work; each waits for one key.
MAX_WAITING = 4_096

K = TypeVar("K", bound=Hashable)

Find = Callable[[Collection[K]], Awaitable[Mapping[K, Principal]]]
"""The principals of those keys that are good, by key."""

log = get_logger("api")


class KeyLookup(Generic[K]):
    """Of keys, or of whatever else says who somebody is. Owned by the application."""

    def __init__(self, find: Find[K], *, max_batch: int = MAX_BATCH) -> None:
        self._find = find
        self._max_batch = max_batch
        self._waiting: dict[K, asyncio.Future[Principal | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def find(self, secret: K) -> Principal | None:
        """Who holds this key; None: nobody.

        Raises:
            UnavailableError: the records are away, or too many keys wait.
        """
        answer = self._waiting.get(secret)
        if answer is None:
            if len(self._waiting) >= MAX_WAITING:
                raise UnavailableError("Too many keys wait to be checked.", hint="Try again.")
            answer = asyncio.get_running_loop().create_future()
            self._waiting[secret] = answer
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="key lookup")
        # Several may wait for the same answer: one that goes away must not take it from the others.
        return await asyncio.shield(answer)

    async def aclose(self) -> None:
        """Idempotent. Whoever still waits is cancelled."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for answer in self._waiting.values():
            answer.cancel()
        self._waiting.clear()

    async def _work(self) -> None:
        while self._waiting:
            batch = {s: self._waiting[s] for s in islice(self._waiting, self._max_batch)}
            await self._answer(batch)
            for secret in batch:
                del self._waiting[secret]
        self._task = None

    async def _answer(self, batch: Mapping[K, asyncio.Future[Principal | None]]) -> None:
        try:
            found = await self._find(list(batch))
        except AtalaiaError as error:
            self._fail(batch, error)
        except Exception as error:  # the top of this task: those who wait must hear of it
            log.exception("keys not looked up")
            self._fail(batch, error)
        else:
            for secret, answer in batch.items():
                if not answer.done():
                    answer.set_result(found.get(secret))

    def _fail(self, batch: Mapping[K, asyncio.Future[Principal | None]], error: Exception) -> None:
        for answer in batch.values():
            if not answer.done():
                answer.set_exception(error)
                # Whoever waited may be gone: asyncio would complain that nobody read it.
                answer.exception()
