"""What a run removed of one tenant, counted while it runs."""

from __future__ import annotations

from cluster.core.log import get_logger
from cluster.stores.db import KindCount, RemovalCause, RetentionRun
from pipelines.errors import AtalaiaError
from pipelines.retention import RetentionKind, SpaceState

log = get_logger("retention")


class Tally:
    """Counts of one run for one tenant.

    Attributes:
        error: the last failure, for people.
        complete: whether nothing that should have gone is left, as far as is known.
    """

    def __init__(self, tenant: str, started_us: int) -> None:
        self.tenant = tenant
        self.started_us = started_us
        self.error = ""
        self.complete = True
        self._counts: dict[tuple[RetentionKind, RemovalCause], KindCount] = {}

    @property
    def removed(self) -> int:
        """Things of all kinds that were removed so far."""
        return sum(count.removed for count in self._counts.values())

    @property
    def counts(self) -> tuple[KindCount, ...]:
        return tuple(self._counts.values())

    def add(
        self,
        kind: RetentionKind,
        removed: int,
        size: int = 0,
        cause: RemovalCause = RemovalCause.AGE,
    ) -> None:
        """Things that were removed, and the bytes of their files."""
        known = self._counts.get((kind, cause), KindCount(kind=kind, cause=cause))
        if removed or size:
            update = {"removed": known.removed + removed, "bytes": known.bytes + size}
            self._counts[kind, cause] = known.model_copy(update=update)

    def fail(
        self,
        kind: RetentionKind,
        error: AtalaiaError,
        cause: RemovalCause = RemovalCause.AGE,
        *,
        key: str = "",
    ) -> None:
        """Something stays until the next run, because a store refused."""
        known = self._counts.get((kind, cause), KindCount(kind=kind, cause=cause))
        self._counts[kind, cause] = known.model_copy(update={"failures": known.failures + 1})
        self.error, self.complete = f"{kind.value}: {error.message}", False
        log.warning("not removed", tenant=self.tenant, kind=kind, key=key, error=str(error))

    def give_up(self, error: Exception) -> None:
        """Nothing more could be done for this tenant: a store refused, or there is a bug, or a row
        that nobody expected. A failure of one thing, before, says more."""
        self.complete = False
        if isinstance(error, AtalaiaError):
            self.error = self.error or error.message
            log.warning("retention of a tenant failed", tenant=self.tenant, error=str(error))
        else:
            self.error = self.error or "an internal error; details are in the log."
            log.exception("retention of a tenant failed", tenant=self.tenant, exc_info=error)

    def report(self, ended_us: int, space: SpaceState) -> RetentionRun:
        """The report of the run."""
        return RetentionRun(
            started_us=self.started_us,
            ended_us=ended_us,
            space=space,
            complete=self.complete,
            counts=self.counts,
            error=self.error,
        )
