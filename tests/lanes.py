"""Which tests may run side by side.

Most integration tests wait: for a server, for a camera's next key frame, for a time-out. Some keep
both cores busy, and some say how many frames came through in real time. So each module belongs to a
lane, and a lane has workers of its own:

- `busy`: models, exports and Ray jobs. One worker, at the lowest priority: it takes what the others
  leave.
- `real time`: cameras that play, and watchers. One worker: two such stacks would disturb each
  other.
- `chaos`: a whole Atalaia that is broken and recovers. One worker. Nothing in it counts frames, so
  it gives way to `real time`, and waits patiently.
- everything else shares the remaining workers, at a low priority.

A worker whose lane is empty helps in the last one, then in the busy one, at its priority. A module
stays on one worker, so that servers that its tests share are started once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# In the order in which they begin: the longest first, so that none is left alone at the end.
BUSY = (
    "tests/integration/batch/test_reprocess.py",
    "tests/integration/serve/test_serve_models.py",
    "tests/integration/batch/",
    "tests/integration/api/test_picture_memory.py",
    "tests/integration/serve/",
    "tests/integration/api/test_api_pictures.py",
    "tests/integration/demo/test_detection.py",
)
CHAOS = ("tests/chaos/",)
REAL_TIME = (
    "tests/integration/agents/",
    "tests/integration/bridge/",
    "tests/integration/controller/",
    "tests/integration/recording/test_recording_live.py",
    "tests/integration/recording/test_recording_pump.py",
    "tests/hostile/",
)
WORKERS = {"gw0": REAL_TIME, "gw1": BUSY, "gw2": CHAOS}
# Niceness by lane. Cameras that play come first: what they lose while others compute is lost.
NICE = {BUSY: 19, (): 10, CHAOS: 5, REAL_TIME: 0}


def _prefix_of(path: str) -> str:
    """The longest prefix of a module in the lists; empty where none is."""
    prefixes = [prefix for lane in NICE for prefix in lane if path.startswith(prefix)]
    return max(prefixes, key=len, default="")


def lane_of(path: str) -> tuple[str, ...]:
    """The lane of a module, by the longest of its prefixes."""
    return next((lane for lane in NICE if _prefix_of(path) in lane), ())


def in_order(modules: Iterable[str]) -> list[str]:
    """Modules by the niceness of their lanes, then in the order of the lane's list; otherwise as
    they come."""
    order = {prefix: index for lane in NICE for index, prefix in enumerate(lane)}
    return sorted(
        modules, key=lambda module: (NICE[lane_of(module)], order.get(_prefix_of(module), 0))
    )


def take_priority(path: str) -> None:
    """Give way to the lanes that come before the module's own.

    There is no way back, and none is needed: a worker goes on to lanes that come later.
    """
    nice = NICE[lane_of(path)]
    if os.getpriority(os.PRIO_PROCESS, 0) < nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)


class Lanes(LoadFileScheduling):
    """Sends whole modules to workers, each worker's own lane first."""

    def _next_module(self, node: WorkerController) -> str | None:
        """Of the node's own lane, else of one that has no worker (any more), else a busy one."""
        served = [
            WORKERS[other.gateway.id]
            for other in self.nodes
            if other.gateway.id in WORKERS and not other.shutting_down
        ]
        own = WORKERS.get(node.gateway.id, ())
        lanes = {module: lane_of(module) for module in self.workqueue}
        mine = [module for module, lane in lanes.items() if lane == own]
        orphans = [module for module, lane in lanes.items() if lane not in served]
        busy = [module for module, lane in lanes.items() if lane == BUSY]
        return next(iter(in_order(mine) or in_order(orphans) or in_order(busy)), None)

    def _assign_work_unit(self, node: WorkerController) -> None:
        module = self._next_module(node)
        if module is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(module, last=False)
        super()._assign_work_unit(node)
