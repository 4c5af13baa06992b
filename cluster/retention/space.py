"""Keeps the disk below its mark, where blobs are in a folder of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cluster.core.log import get_logger
from cluster.core.retention_settings import RetentionSettings
from cluster.retention.age import AT_ONCE, Steps
from cluster.retention.disk import UsageProbe
from cluster.retention.listed import ListedThing, clips
from cluster.retention.stores import TenantStores, remove_all
from cluster.retention.tally import Tally
from cluster.stores.db import RemovalCause
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError
from pipelines.retention import (
    Candidate,
    RetentionKind,
    SpaceStage,
    SpaceState,
    Usage,
    is_held,
    oldest_worth,
    windows,
)

log = get_logger("retention.space")

# Candidates per camera in one step, oldest first.
CANDIDATES = 64
# What is younger stays: an alarm may still be on its way to it.
YOUNGEST_US = 600_000_000

K = RetentionKind
RaiseAlarm = Callable[[Usage], Awaitable[None]]
"""Says that what policy would keep will be removed. Does not raise."""


@dataclass(frozen=True, slots=True)
class Party:
    """One tenant in a run."""

    stores: TenantStores
    tally: Tally


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
        self._refused: set[tuple[str, str]] = set()
        """Tenants and cameras of which something could not be removed in this run."""

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
        for stage in SpaceStage:
            self._refused.clear()
            while self._excess():
                if not await self._relieve(stage, parties):
                    break
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
        if self._probe is not None and self._settings.high_water is not None:
            try:
                self.usage = await asyncio.to_thread(self._probe)
            except AtalaiaError as error:
                log.error("the disk cannot be measured", error=str(error))
                return None
        return self.usage

    def _excess(self) -> int:
        return self.usage.excess(self._settings.low_water) if self.usage else 0

    # ------------------------------------------------------------ one step

    async def _relieve(self, stage: SpaceStage, parties: Sequence[Party]) -> bool:
        """Remove some of a stage. Returns False if there is nothing left of it."""
        things: dict[tuple[str, str], ListedThing] = {}
        lists = await self._candidates(stage, parties, things)
        chosen = oldest_worth(lists, self._excess(), CANDIDATES)
        for party in parties:
            own = [c for c in chosen if c.tenant == party.stores.tenant]
            for n in range(0, len(own), AT_ONCE):
                try:
                    await self._remove(party, stage, own[n : n + AT_ONCE], things)
                except AtalaiaError as error:
                    party.tally.fail(_kind_of(stage), error, RemovalCause.SPACE)
                    self._refused |= {(c.tenant, c.camera) for c in own}
                    break
        return bool(chosen)

    async def _candidates(
        self,
        stage: SpaceStage,
        parties: Sequence[Party],
        things: dict[tuple[str, str], ListedThing],
    ) -> list[list[Candidate]]:
        """The oldest of all tenants, list by list; `things` gets the files of clips."""
        lists: list[list[Candidate]] = []
        for party in parties:
            try:
                if stage is SpaceStage.CLIPS:
                    lists.append(await self._clips(party, things))
                else:
                    lists += await self._recordings(party, stage)
            except AtalaiaError as error:
                party.tally.fail(_kind_of(stage), error, RemovalCause.SPACE)
        return lists

    async def _recordings(self, party: Party, stage: SpaceStage) -> list[list[Candidate]]:
        """The oldest files of each camera that no hold keeps."""
        stores, lists = party.stores, []
        holds = await stores.retention.held()
        until_us = self._clock.now_us() - YOUNGEST_US
        with_alarm = stage is SpaceStage.RECORDINGS_WITH_ALARM
        for camera in await stores.expiry.cameras(K.RECORDINGS):
            found: list[Candidate] = []
            for window in windows(until_us, holds, camera):
                if (stores.tenant, camera) in self._refused or len(found) >= CANDIDATES:
                    break
                old = await stores.expiry.recordings(
                    camera, window, CANDIDATES - len(found), with_alarm=with_alarm
                )
                found += [
                    Candidate(o.end_us, stores.tenant, camera, o.start_us, o.size, o.blob)
                    for o in old
                ]
            lists.append(found)
        return lists

    async def _clips(
        self, party: Party, things: dict[tuple[str, str], ListedThing]
    ) -> list[Candidate]:
        """The oldest clips that no hold keeps; `things` gets their files."""
        stores, found = party.stores, list[Candidate]()
        holds = await stores.retention.held()
        until_us = self._clock.now_us() - YOUNGEST_US
        async for some in clips(stores):
            for thing in some:
                if (stores.tenant, thing.camera) in self._refused or thing.age_us >= until_us:
                    continue
                if not is_held(thing.start_us, thing.end_us, holds, thing.camera):
                    things[stores.tenant, thing.files[0]] = thing
                    found.append(
                        Candidate(
                            thing.age_us,
                            stores.tenant,
                            thing.camera,
                            thing.start_us,
                            thing.size,
                            thing.files[0],
                        )
                    )
        return sorted(found)[:CANDIDATES]

    async def _remove(
        self,
        party: Party,
        stage: SpaceStage,
        chosen: Sequence[Candidate],
        things: dict[tuple[str, str], ListedThing],
    ) -> None:
        """Remove a few things: files first. Raises UnavailableError: the rows stay for now."""
        kind = _kind_of(stage)
        files = [things[c.tenant, c.key].files if kind is K.CLIPS else (c.key,) for c in chosen]
        results = await remove_all(party.stores.blobs, files)
        for candidate, result in zip(chosen, results, strict=True):
            if isinstance(result, AtalaiaError):
                party.tally.fail(kind, result, RemovalCause.SPACE, key=candidate.key)
                self._refused.add((candidate.tenant, candidate.camera))
                continue
            self._freed(result)
            if kind is K.RECORDINGS:
                await party.stores.expiry.remove_recordings(candidate.camera, [candidate.start_us])
            party.tally.add(kind, 1, result, RemovalCause.SPACE)

    def _freed(self, size: int) -> None:
        if self.usage is not None:
            self.usage = Usage(self.usage.used - size, self.usage.total)


def _kind_of(stage: SpaceStage) -> RetentionKind:
    return K.CLIPS if stage is SpaceStage.CLIPS else K.RECORDINGS
