"""Finds out why a camera cannot be read, in terms that help its owner.

The bridge pulls from the gateway, so it only sees that the gateway has no stream. The relay knows
the cause (wrong password, unknown host). Where it does not, the stream is probed. Both happen in
the background, because a probe may take seconds. Main and sub-stream are looked into apart.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cluster.core.log import get_logger
from cluster.media.gateway import MediaGateway, StreamName
from pipelines.clock import Clock
from pipelines.domain import CameraKey
from pipelines.errors import AtalaiaError

log = get_logger("diagnosis")

PROBE_INTERVAL_S = 30.0
"""Seconds. The reason may change (first unreachable, then a wrong password), but each probe costs a
connection."""
ASK_INTERVAL_S = 5.0
"""Seconds. The relay answers from memory."""
MAX_PROBES = 4
"""Concurrent probes. When a site goes down, all its cameras need one."""


@dataclass(slots=True)
class _Finding:
    reason: str = ""
    asked_s: float = float("-inf")
    probed_s: float = float("-inf")
    task: asyncio.Task[None] | None = None


class Diagnosis:
    """Caches the last reason for each stream. Owns the running probes."""

    def __init__(self, gateway: MediaGateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._findings: dict[StreamName, _Finding] = {}
        self._slots = asyncio.Semaphore(MAX_PROBES)

    def reason(self, stream: StreamName, *, probing: bool = True) -> str:
        """Why the stream cannot be read; empty if that is not known (yet). Finds out when due.

        Args:
            probing: whether to probe where the relay knows of no problem.
        """
        finding = self._findings.setdefault(stream, _Finding())
        now_s = self._clock.monotonic()
        idle = finding.task is None or finding.task.done()
        if idle and now_s - finding.asked_s >= ASK_INTERVAL_S:
            finding.asked_s = now_s
            work = self._find(stream, finding, probing)
            finding.task = asyncio.create_task(work, name=f"probe {stream}")
        return finding.reason

    def forget(self, stream: StreamName) -> None:
        """Discard the reason: the stream works again or was removed."""
        finding = self._findings.pop(stream, None)
        if finding is not None and finding.task is not None:
            finding.task.cancel()

    def forget_camera(self, key: CameraKey) -> None:
        """Discard the reasons of both streams."""
        for sub in (False, True):
            self.forget(StreamName(key, sub))

    async def aclose(self) -> None:
        tasks = [f.task for f in self._findings.values() if f.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._findings.clear()

    async def _find(self, stream: StreamName, finding: _Finding, probing: bool) -> None:
        async with self._slots:
            try:
                known = await self._gateway.why(str(stream))
                if known is not None:
                    finding.reason = str(known)
                    return
                now_s = self._clock.monotonic()
                if not probing or now_s - finding.probed_s < PROBE_INTERVAL_S:
                    return
                finding.probed_s = now_s
                await self._gateway.probe(str(stream))
            except AtalaiaError as error:
                finding.reason = str(error)
            else:
                finding.reason = ""  # it can be read again, as the bridge will notice
