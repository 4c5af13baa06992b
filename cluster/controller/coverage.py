"""Keeps the coverage of all cameras: turns the rounds of the controller into rows of the records.

No round waits for the records. While they are away, statements wait in memory, joined.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from cluster.core.log import get_logger
from cluster.stores.db import Told
from pipelines.domain import CameraKey, Fault
from pipelines.errors import AtalaiaError
from pipelines.ledger import (
    CameraLedger,
    Cover,
    CoverageReport,
    Stretch,
    merge,
    merge_all,
)

log = get_logger("coverage")

FLUSH_S = 15.0
"""Between two writes: what is read of a camera's coverage is at most so old."""
MAX_WAITING = 500
"""Stretches of one camera that wait for the records. Beyond, the oldest are given up: a camera that
comes and goes every two seconds fills it in some 17 minutes."""
LONGEST_HOLE_US = 31 * 86_400_000_000
"""Time without a controller is told for at most so long."""
SHORTEST_HOLE_US = 1_000_000

Observe = Callable[[Mapping[Cover, float], Mapping[Cover, int]], None]


class CoverageStore(Protocol):
    """What this needs of `cluster.stores.db.TenantCoverage`."""

    async def add(self, told: Told) -> None: ...

    async def last(self) -> dict[str, Stretch]: ...


class CoverageKeeper:
    """Belongs to the controller's loop.

    Args:
        store: opens the records of one tenant's coverage.
        observe: for metrics: seconds since the last call by what they were, and the cameras that
            are blind, by cause.

    Attributes:
        dropped: stretches that were given up.
    """

    def __init__(
        self,
        store: Callable[[str], CoverageStore],
        observe: Observe = lambda _seconds, _blind: None,
        *,
        flush_s: float = FLUSH_S,
    ) -> None:
        self.dropped = 0
        self._store = store
        self._observe = observe
        self._flush_s = flush_s
        self._ledgers: dict[CameraKey, CameraLedger] = {}
        self._waiting: dict[CameraKey, tuple[Stretch, ...]] = {}
        self._resumed: set[CameraKey] = set()
        self._pictures: dict[CameraKey, Fault] = {}

    # ------------------------------------------------------------ each round

    def observe(self, reports: Mapping[CameraKey, CoverageReport]) -> None:
        """Take one round's reports of all cameras; of those that are missing nothing is kept."""
        for gone in self._ledgers.keys() - reports.keys():
            del self._ledgers[gone]
            self._waiting.pop(gone, None)
            self._resumed.discard(gone)
        seconds = Counter[Cover]()
        for key, report in reports.items():
            ledger = self._ledgers.setdefault(key, CameraLedger())
            before_us = ledger.known_us
            told = ledger.observe(report)
            for stretch in told if before_us else ():
                seconds[stretch.cover] += max(0, stretch.end_us - max(before_us, stretch.start_us))
            self._wait(key, told)
        self._pictures = {key: r.picture for key, r in reports.items() if r.picture is not None}
        blind = Counter(cause for r in reports.values() if (cause := r.cause) is not None)
        self._observe({cover: us / 1e6 for cover, us in seconds.items()}, blind)

    def _wait(self, key: CameraKey, told: Sequence[Stretch]) -> None:
        waiting = merge(self._waiting.get(key, ()), told)
        if len(waiting) > MAX_WAITING:
            self.dropped += len(waiting) - MAX_WAITING
            waiting = waiting[-MAX_WAITING:]
        if waiting:
            self._waiting[key] = waiting

    def blind(self) -> dict[CameraKey, tuple[int, bool]]:
        """Cameras that are blind now: since when, and whether that is all that was seen of them
        since this process started, so that it may have begun earlier."""
        return {
            key: (ledger.blind_since_us, not ledger.seen)
            for key, ledger in self._ledgers.items()
            if ledger.blind_since_us is not None
        }

    def pictures(self) -> dict[CameraKey, Fault]:
        """What is wrong with the pictures of cameras."""
        return dict(self._pictures)

    # ------------------------------------------------------------ writing

    async def run(self, then: Callable[[], Awaitable[None]]) -> None:
        """Write what waits, and call `then`, until cancelled."""
        while True:
            await asyncio.sleep(self._flush_s)
            await self.flush()
            await then()

    async def flush(self) -> None:
        """Write what waits. What cannot be written waits for the next time."""
        by_tenant: dict[str, dict[CameraKey, tuple[Stretch, ...]]] = {}
        for key, stretches in self._waiting.items():
            by_tenant.setdefault(key.tenant, {})[key] = stretches
        for tenant, told in by_tenant.items():
            try:
                await self._write(tenant, told)
            except AtalaiaError as error:
                log.warning("coverage waits for the records", tenant=tenant, error=error.message)
            except Exception:
                # Top of one tenant's part: a bug there must not stop that of the others.
                log.exception("coverage not written", tenant=tenant)

    async def aclose(self) -> None:
        """Write once more. Safe to call twice."""
        await self.flush()

    async def _write(self, tenant: str, told: Mapping[CameraKey, tuple[Stretch, ...]]) -> None:
        store = self._store(tenant)
        fresh = told.keys() - self._resumed
        holes = self._holes(fresh, await store.last()) if fresh else {}
        await store.add(
            {
                key.camera: merge_all([*holes.get(key, ()), *stretches])
                for key, stretches in told.items()
            }
        )
        for key, written in told.items():
            if self._waiting.get(key) is written:
                del self._waiting[key]  # else there is more of it by now, for the next time
        self._resumed |= fresh & self._ledgers.keys()

    def _holes(
        self, fresh: set[CameraKey], last: Mapping[str, Stretch]
    ) -> dict[CameraKey, list[Stretch]]:
        """The time in which no controller looked after a camera, before this one did."""
        found: dict[CameraKey, list[Stretch]] = {}
        for key in fresh & self._ledgers.keys():
            known, first_us = last.get(key.camera), self._ledgers[key].first_us
            if known is None or first_us - known.end_us < SHORTEST_HOLE_US:
                continue
            cover = Cover.OFF if known.cover is Cover.OFF else Cover.UNOBSERVED
            since_us = max(known.end_us, first_us - LONGEST_HOLE_US)
            found[key] = [Stretch(since_us, first_us // 1_000 * 1_000, cover)]
        return found
