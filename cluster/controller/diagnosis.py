"""Finds out why a camera cannot be read, in terms that help its owner.

The bridge pulls from the gateway, so it only sees that the gateway has no stream. The gateway can
tell the cause (wrong password, unknown host). It is probed in the background, because a probe may
take seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cluster.core.log import get_logger
from cluster.media.gateway import MediaGateway
from pipelines.clock import Clock
from pipelines.domain import CameraKey
from pipelines.errors import AtalaiaError

log = get_logger("diagnosis")

PROBE_INTERVAL_S = 30.0
"""Seconds. The reason may change (first unreachable, then a wrong password), but each probe costs a
connection."""
MAX_PROBES = 4
"""Concurrent probes. When a site goes down, all its cameras need one."""


@dataclass(slots=True)
class _Finding:
    reason: str = ""
    probed_s: float = float("-inf")
    task: asyncio.Task[None] | None = None


class Diagnosis:
    """Caches the gateway's last reason for each camera. Owns the running probes."""

    def __init__(self, gateway: MediaGateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._findings: dict[CameraKey, _Finding] = {}
        self._slots = asyncio.Semaphore(MAX_PROBES)

    def reason(self, key: CameraKey, fallback: str) -> str:
        """The gateway's reason if known, else `fallback`; starts a probe when due."""
        finding = self._findings.setdefault(key, _Finding())
        now_s = self._clock.monotonic()
        idle = finding.task is None or finding.task.done()
        if idle and now_s - finding.probed_s >= PROBE_INTERVAL_S:
            finding.probed_s = now_s
            finding.task = asyncio.create_task(self._probe(key, finding), name=f"probe {key.room}")
        return finding.reason or fallback

    def forget(self, key: CameraKey) -> None:
        """Discard the reason: the camera works again or was removed."""
        finding = self._findings.pop(key, None)
        if finding is not None and finding.task is not None:
            finding.task.cancel()

    async def aclose(self) -> None:
        tasks = [f.task for f in self._findings.values() if f.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._findings.clear()

    async def _probe(self, key: CameraKey, finding: _Finding) -> None:
        async with self._slots:
            try:
                await self._gateway.probe(key.room)
            except AtalaiaError as error:
                finding.reason = str(error)
            else:
                finding.reason = ""  # it can be read again, as the bridge will notice
