"""Prometheus metrics of retention, through Ray's own exporter. No label holds a tenant."""

from __future__ import annotations

from ray.util import metrics

from cluster.stores.db import RetentionRun
from pipelines.retention import SpaceState, Usage


class RetentionMetrics:
    """Create it in a process of the Ray cluster."""

    def __init__(self) -> None:
        tags = ("kind", "cause")
        self._removed = metrics.Counter(
            "atalaia_retention_removed",
            description="things removed, by kind and cause (age, space)",
            tag_keys=tags,
        )
        self._bytes = metrics.Counter(
            "atalaia_retention_removed_bytes", description="bytes of their files", tag_keys=tags
        )
        self._failures = metrics.Counter(
            "atalaia_retention_failures",
            description="things that stay until the next run, because a store refused",
            tag_keys=tags,
        )
        self._used = metrics.Gauge(
            "atalaia_storage_used", description="part of the storage that is used, 0..1"
        )
        self._state = metrics.Gauge(
            "atalaia_storage_state",
            description="1 for the present state: ok, removing (what policy would keep is removed "
            "to make space), exhausted (nothing is left that may be removed)",
            tag_keys=("state",),
        )

        self._away = metrics.Gauge(
            "atalaia_storage_away",
            description="1 where the local folder of the recordings is empty or not mounted",
        )
        self._lost = metrics.Gauge(
            "atalaia_footage_lost_tenants",
            description="tenants of which most recorded files are gone",
        )

    def run(self, run: RetentionRun) -> None:
        """Count what one run removed of one tenant."""
        for count in run.counts:
            tags = {"kind": count.kind.value, "cause": count.cause.value}
            for counter, number in (
                (self._removed, count.removed),
                (self._bytes, count.bytes),
                (self._failures, count.failures),
            ):
                if number:
                    counter.inc(number, tags=tags)

    def space(self, usage: Usage | None, state: SpaceState) -> None:
        """Show how full the storage is; `usage` None: that is not measured."""
        if usage is not None:
            self._used.set(usage.fraction)
        for each in SpaceState:
            self._state.set(1 if each is state else 0, tags={"state": each.value})

    def footage(self, *, away: bool, lost: int) -> None:
        """Show whether the files are there.

        Args:
            lost: of how many tenants most are gone.
        """
        self._away.set(1 if away else 0)
        self._lost.set(lost)
