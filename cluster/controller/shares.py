"""How many frames of each camera are analysed where a tenant may not have all that it wants.

The tenant's quota `analysed-frames-per-second` is divided like the detector's time (decision
0015): who needs less than an equal part has all of it, and the rest is divided among the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from pipelines.domain import MIN_DETECT_FPS, CameraKey, CameraPlan


def shares(wanted: Mapping[CameraKey, float], limit: float) -> dict[CameraKey, float]:
    """Frames per second for each camera of one tenant: `limit` together, and none more than it
    wants."""
    found: dict[CameraKey, float] = {}
    left, cameras = limit, len(wanted)
    for key, fps in sorted(wanted.items(), key=lambda item: (item[1], item[0])):
        found[key] = min(fps, left / cameras)
        left -= found[key]
        cameras -= 1
    return found


def capped(
    plans: Iterable[CameraPlan], usual: int, own: Mapping[str, int]
) -> dict[CameraKey, CameraPlan]:
    """The plans of cameras that run, with the rate that their tenant's quota leaves each.

    Args:
        usual: the quota of every tenant, frames per second.
        own: of tenants that have another one.
    """
    by_tenant: dict[str, dict[CameraKey, CameraPlan]] = defaultdict(dict)
    for plan in plans:
        by_tenant[plan.camera.tenant][plan.key] = plan
    found: dict[CameraKey, CameraPlan] = {}
    for tenant, of_tenant in by_tenant.items():
        wanted = {key: plan.camera.detect_fps for key, plan in of_tenant.items()}
        given = shares(wanted, own.get(tenant, usual))
        for key, plan in of_tenant.items():
            found[key] = plan if given[key] == wanted[key] else _at(plan, given[key])
    return found


def why_capped(wanted: CameraPlan, given: CameraPlan) -> str:
    """For people; empty where it gets all that it wants."""
    if given.camera.detect_fps == wanted.camera.detect_fps:
        return ""
    return (
        f"{given.camera.detect_fps:.3g} frames/s are analysed in place of "
        f"{wanted.camera.detect_fps:.3g}: the tenant's quota analysed-frames-per-second is used up"
    )


def _at(plan: CameraPlan, fps: float) -> CameraPlan:
    # A quota of next to nothing, or of 0, shall not make a rate that nobody can divide by.
    camera = plan.camera.model_copy(update={"detect_fps": max(fps, MIN_DETECT_FPS)})
    return plan.model_copy(update={"camera": camera})
