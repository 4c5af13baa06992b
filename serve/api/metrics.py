"""Prometheus metrics of this API process.

Labels are bounded: the route's template, never the requested path; no tenant, no camera.
Each application has a registry of its own, so that two in one process do not collide.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.clock import Clock

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})

AUDIT_RESULTS = ("written", "delayed", "lost")

# From a cached key lookup (1 ms) to a first inference on a cold replica.
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class _OfReplica(Collector):
    """The samples of a registry, each with the replica that they are of."""

    def __init__(self, registry: CollectorRegistry, replica: str) -> None:
        self._registry = registry
        self._replica = {"replica": replica}

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, **self._replica})
                for sample in metric.samples
            ]
            yield metric


class Metrics:
    """What the API counts of itself.

    Args:
        replica: goes into each sample, so that the counters of one replica are never continued by
            those of another, on whatever address both are read; empty: there is only one.
    """

    def __init__(self, replica: str = "") -> None:
        self._replica = replica
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "atalaia_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "atalaia_http_request_seconds",
            "Time until an answer began (for event streams: until the headers).",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.streams = Gauge(
            "atalaia_alarm_streams", "Event streams that are open.", registry=self.registry
        )
        self.streamed = Counter(
            "atalaia_alarm_stream_events",
            "Alarms sent over event streams.",
            registry=self.registry,
        )
        self.stream_errors = Counter(
            "atalaia_alarm_stream_read_errors",
            "Reads of an alarm stream that failed and were tried again.",
            registry=self.registry,
        )
        self.announce_errors = Counter(
            "atalaia_controller_announce_errors",
            "Changes of which the controller could not be notified at once (its timer finds them).",
            registry=self.registry,
        )
        self.quota_refusals = Counter(
            "atalaia_quota_refusals",
            "Requests refused because a tenant or a key had used up a quota.",
            ("quota",),
            registry=self.registry,
        )
        self.rate_fallbacks = Counter(
            "atalaia_rate_fallbacks",
            "Times that Redis could not count a rate, so that this replica counted it alone.",
            registry=self.registry,
        )
        self.slow_clients = Counter(
            "atalaia_slow_clients",
            "Exchanges that were ended because the client took or sent too little.",
            ("direction",),
            registry=self.registry,
        )
        self._audit_events = Counter(
            "atalaia_audit_events",
            "Entries of the audit log: written; written after a failed attempt (delayed); lost.",
            ("result",),
            registry=self.registry,
        )
        for result in AUDIT_RESULTS:
            self._audit_events.labels(result)
        self.audit_waiting = Gauge(
            "atalaia_audit_waiting",
            "Entries of the audit log that are not yet written.",
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """All samples of now, in Prometheus' text format 0.0.4."""
        if not self._replica:
            return generate_latest(self.registry)
        shown = CollectorRegistry(auto_describe=False)
        shown.register(_OfReplica(self.registry, self._replica))
        return generate_latest(shown)

    def count_audit(self, result: str, count: int) -> None:
        """Count entries of the audit log; `result` is one of `AUDIT_RESULTS`."""
        self._audit_events.labels(result).inc(count)


class Measure:
    """ASGI middleware that counts requests and their time to the first byte."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Clock) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], self._clock.monotonic() - began)
            await send(message)

        await self._app(scope, receive, timed)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        # `route` is set by the router: absent where the key was refused or nothing matched.
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
