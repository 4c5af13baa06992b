"""Telling the controller of changes, without making callers wait for a controller that is away."""

from __future__ import annotations

import asyncio

from cluster.core.log import get_logger
from pipelines.errors import AtalaiaError
from serve.api.metrics import Metrics
from serve.api.ports import ControllerPort

# A controller that is there answers within some 5 ms. Waiting this long for it makes "changed" true
# before the caller has the answer; a slow one is notified in the background.
WAIT_S = 0.5

# Each notification ends within the port's own time limit, so this is a controller that hangs.
MAX_PENDING = 64

log = get_logger("api.announce")


class Announcer:
    """Owned by the application. A change that cannot be announced is kept all the same: the
    controller reads the records on its own timer."""

    def __init__(self, controller: ControllerPort, metrics: Metrics) -> None:
        self._controller = controller
        self._metrics = metrics
        self._pending: set[asyncio.Task[None]] = set()

    async def changed(self, tenant: str, camera: str) -> None:
        """Notify the controller of a camera's change. Does not raise where it is away."""
        if len(self._pending) >= MAX_PENDING:
            self._metrics.announce_errors.inc()
            log.warning("controller not notified of a change", camera=camera, error="it hangs")
            return
        task = asyncio.create_task(self._tell(tenant, camera), name="announce")
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        await asyncio.wait((task,), timeout=WAIT_S)

    async def _tell(self, tenant: str, camera: str) -> None:
        try:
            await self._controller.changed(tenant, camera)
        except AtalaiaError as error:
            self._metrics.announce_errors.inc()
            log.warning("controller not notified of a change", camera=camera, error=str(error))
        except Exception:  # the top of this task
            self._metrics.announce_errors.inc()
            log.exception("controller not notified of a change", camera=camera)

    async def aclose(self) -> None:
        """Give up notifications in flight. Idempotent."""
        pending = list(self._pending)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
