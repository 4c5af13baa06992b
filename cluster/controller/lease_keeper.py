"""Keeps the lease: asks for it, renews it, and says whether this controller may command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import uuid4

from cluster.controller.lease import (
    ASK_EVERY,
    Answer,
    Lease,
    LeaseState,
    NotInCommandError,
    at,
    heard,
)
from cluster.core.log import get_logger
from pipelines.clock import Clock, SystemClock
from pipelines.errors import AtalaiaError

log = get_logger("lease")


class LeaseStore(Protocol):
    """Where the lease is; `cluster.controller.lease_store.RedisLease` is one."""

    async def ask(self, owner: str, incarnation: str, lease_s: float, *, first: bool) -> Answer:
        """Ask for the lease, or renew it.

        Args:
            owner: of whom a first request takes the lease over at once.
            incarnation: of whom a further request renews it.
            first: this incarnation has never had an answer.

        Raises:
            AtalaiaError: no answer.
        """
        ...

    async def release(self, owner: str, incarnation: str) -> None:
        """Let others have it, if this incarnation does. Raises AtalaiaError: no answer."""
        ...


class BootClock(SystemClock):
    """Its monotonic time goes on while the machine is suspended, during which others take over."""

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseKeeper:
    """Asks while `run` runs. For one event loop.

    Args:
        owner: the Ray cluster of this controller. One that starts takes the lease over from another
            of the same cluster at once: that one is gone, for Ray runs one at a time.
        lease_s: how long a holder that died keeps others waiting.
    """

    def __init__(self, store: LeaseStore, owner: str, lease_s: float, clock: Clock) -> None:
        self._store = store
        self._owner = owner
        self._incarnation = uuid4().hex
        self._lease_s = lease_s
        self._clock = clock
        self._lease = Lease()
        self._first = True
        self._changed = asyncio.Condition()

    @property
    def lease(self) -> Lease:
        """As it is now."""
        return at(self._lease, self._clock.monotonic())

    @property
    def held(self) -> bool:
        return self.lease.state is LeaseState.HOLDING

    @property
    def elsewhere(self) -> bool:
        """A controller of another cluster has it, as far as was heard."""
        lease = self.lease
        return lease.state is LeaseState.STANDING_BY and lease.owner not in ("", self._owner)

    def token(self) -> int:
        """That goes with a command. Raises NotInCommandError: the lease is not held."""
        lease = self.lease
        if lease.state is not LeaseState.HOLDING:
            raise NotInCommandError(f"this controller does not command: {lease.state}.")
        return lease.token

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                await self.step()
            except Exception:
                # Top of the task. Without answers the lease lapses.
                log.exception("lease not asked for")
            await asyncio.sleep(self._lease_s * ASK_EVERY)

    async def step(self) -> None:
        """Ask once."""
        before, asked_s = self.lease, self._clock.monotonic()
        answer = await self._answer()
        self._first = self._first and answer is None
        # `before`: what lapsed while the answer was on its way counts as the answer says.
        self._lease = heard(before, answer, asked_s, self._lease_s)
        if self.lease.state is not before.state:
            lease = self.lease
            log.info("lease", state=lease.state.value, token=lease.token, owner=lease.owner)
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds after a step, or now."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def stepped(self) -> None:
        """Wait for the next step."""
        async with self._changed:
            await self._changed.wait()

    async def release(self) -> None:
        """Give it up, so that another one need not wait. Call after `run` has ended, and after what
        was commanded has."""
        self._lease = Lease()
        try:
            async with asyncio.timeout(self._lease_s * ASK_EVERY):
                await self._store.release(self._owner, self._incarnation)
        except (AtalaiaError, TimeoutError) as error:
            log.info("lease not released; it expires", error=str(error))

    async def _answer(self) -> Answer:
        try:
            async with asyncio.timeout(self._lease_s * ASK_EVERY):
                return await self._store.ask(
                    self._owner, self._incarnation, self._lease_s, first=self._first
                )
        except (AtalaiaError, TimeoutError) as error:
            log.warning("no answer about the lease", error=str(error) or type(error).__name__)
            return None


async def lead(
    keeper: LeaseKeeper,
    work: Callable[[], Awaitable[None]],
    stand_by: Callable[[], Awaitable[None]],
) -> None:
    """Do `work` while the lease is held, and cancel it when it is not; until cancelled.

    Args:
        work: does not end by itself; it is started anew when the lease is held again.
        stand_by: done once each time that a controller of another cluster turns out to have the
            lease. What this cluster does for cameras must end then.
    """
    asking = asyncio.create_task(keeper.run(), name="lease")
    try:
        while True:
            await keeper.until(lambda: keeper.held or keeper.elsewhere)
            try:
                if keeper.held:
                    await _while_held(keeper, work)
                else:
                    await stand_by()
                    await keeper.until(lambda: not keeper.elsewhere)
            except Exception:
                # Top of the task: the next step tries again.
                log.exception("what goes with the lease failed")
                await keeper.stepped()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _while_held(keeper: LeaseKeeper, work: Callable[[], Awaitable[None]]) -> None:
    working = asyncio.ensure_future(work())
    lost = asyncio.create_task(keeper.until(lambda: not keeper.held))
    try:
        await asyncio.wait({working, lost}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = working.done()
        for task in (working, lost):
            task.cancel()
        await asyncio.gather(working, lost, return_exceptions=True)
    if ended:
        working.result()
