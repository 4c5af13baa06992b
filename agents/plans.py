"""The plans of the cameras that this host may watch, as the controller sent them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pipelines.domain import CameraKey, CameraPlan

PLAN_WAIT_S = 10.0
PLAN_POLL_S = 0.1


class PlanBook:
    """The newest plan of each camera. The host's loop writes it; any thread may read it.

    Args:
        wait_s, poll_s: how long, and how often, `wait_for` checks for a plan.
    """

    def __init__(self, wait_s: float = PLAN_WAIT_S, poll_s: float = PLAN_POLL_S) -> None:
        self._plans: dict[CameraKey, CameraPlan] = {}
        self._wait_s = wait_s
        self._poll_s = poll_s

    def update(self, changed: Iterable[CameraPlan], removed: Iterable[CameraKey]) -> None:
        """Take new plans, of which older revisions are ignored, and drop removed cameras."""
        for plan in changed:
            known = self._plans.get(plan.key)
            if known is None or plan.revision >= known.revision:
                self._plans[plan.key] = plan
        for key in removed:
            self._plans.pop(key, None)

    def plan(self, key: CameraKey) -> CameraPlan | None:
        return self._plans.get(key)

    def wants(self, key: CameraKey) -> bool:
        """Whether this camera is to be watched."""
        plan = self._plans.get(key)
        return plan is not None and plan.camera.enabled

    @property
    def revisions(self) -> dict[CameraKey, int]:
        return {key: plan.revision for key, plan in self._plans.items()}

    async def wait_for(self, key: CameraKey) -> CameraPlan | None:
        """The plan of a camera; the controller may send it a moment after LiveKit sent the job.

        Polls, because each job waits on an event loop of its own.
        """
        for _ in range(round(self._wait_s / self._poll_s)):
            if key in self._plans:
                break
            await asyncio.sleep(self._poll_s)
        return self._plans.get(key)
