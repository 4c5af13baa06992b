"""Prometheus metrics of erasure, through Ray's own exporter. No label holds a tenant."""

from __future__ import annotations

from ray.util import metrics

from cluster.stores.db import ErasureRecord


class ErasureMetrics:
    """Create it in a process of the Ray cluster."""

    def __init__(self) -> None:
        self._open = metrics.Gauge(
            "atalaia_erasures_open", description="erasures that are not done yet"
        )
        self._done = metrics.Counter(
            "atalaia_erasures_done",
            description="erasures that ended, by kind (objects, tenant)",
            tag_keys=("kind",),
        )
        self._removed = metrics.Counter(
            "atalaia_erasure_removed",
            description="things removed by erasures that ended, by store",
            tag_keys=("store",),
        )

    def open(self, count: int) -> None:
        """Show how many are under way."""
        self._open.set(count)

    def done(self, record: ErasureRecord) -> None:
        """Count one that ended."""
        self._done.inc(1, tags={"kind": record.kind.value})
        for kind, count in record.counts.items():
            if count.removed:
                self._removed.inc(count.removed, tags={"store": kind.partition(".")[0]})
