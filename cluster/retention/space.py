"""Keeps the disk below its mark, where blobs are in a folder of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cluster.core.log import get_logger
from cluster.core.retention_settings import RetentionSettings
from cluster.retention.disk import UsageProbe
from cluster.retention.relief import Party, Relief
from cluster.retention.sweep import Steps
from cluster.stores.db import RemovalCause
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError
from pipelines.retention import SpaceStage, SpaceState, Usage

log = get_logger("retention.space")

RaiseAlarm = Callable[[Usage], Awaitable[None]]
"""Says that what policy would keep will be removed. Does not raise."""


class SpaceKeeper:
    """Owned by the sweeper.

    Args:
        probe: measures the storage; None: it cannot be measured.
        raise_alarm: called before the first thing goes, each time the mark is passed.

    Attributes:
        state: at the end of the last run.
        usage: as last measured; None: never.
    """

    def __init__(
        self,
        probe: UsageProbe | None,
        settings: RetentionSettings,
        clock: Clock,
        raise_alarm: RaiseAlarm,
    ) -> None:
        self.state = SpaceState.OK
        self.usage: Usage | None = None
        self._probe = probe
        self._settings = settings
        self._clock = clock
        self._raise_alarm = raise_alarm

    async def steps(self, parties: Sequence[Party]) -> Steps:
        """Remove what must go, in the order of `SpaceStage`, until the low mark is reached."""
        high = self._settings.high_water
        usage = await self._measure()
        if high is None or usage is None:
            return
        if usage.fraction < high:
            self.state = SpaceState.OK
            return
        if self.state is SpaceState.OK:
            await self._raise_alarm(usage)
            self.state = SpaceState.REMOVING
        relief = Relief(parties, self._clock, RemovalCause.SPACE)
        for stage in SpaceStage:
            while (need := self._excess()) and await self._relieve(relief, stage, need):
                yield
            await self._measure()
        self._conclude(high)

    def _conclude(self, high: float) -> None:
        above = self.usage is not None and self.usage.fraction >= high
        if above and self.state is not SpaceState.EXHAUSTED:
            log.error(
                "the disk stays above its mark: nothing is left that may be removed",
                used=round(self.usage.fraction, 3) if self.usage else None,
                mark=high,
            )
        self.state = SpaceState.EXHAUSTED if above else SpaceState.REMOVING

    async def _measure(self) -> Usage | None:
        if self._probe is not None:
            try:
                self.usage = await asyncio.to_thread(self._probe)
            except AtalaiaError as error:
                log.error("the disk cannot be measured", error=str(error))
                return None
        return self.usage

    def _excess(self) -> int:
        return self.usage.excess(self._settings.low_water) if self.usage else 0

    async def _relieve(self, relief: Relief, stage: SpaceStage, need: int) -> bool:
        before = sum(relief.freed.values())
        more = await relief.step(stage, need)
        if self.usage is not None:
            freed = sum(relief.freed.values()) - before
            self.usage = Usage(self.usage.used - freed, self.usage.total)
        return more
