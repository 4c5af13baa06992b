"""What a mask covers reaches nobody behind the watcher; and each watcher sees its own camera."""

from __future__ import annotations

from functools import partial

import numpy as np
from pydantic import SecretStr

from cluster.bridge.bridge import Bridge
from cluster.demo.scene import GroundTruth
from cluster.demo.simulator import DemoCameras
from pipelines.domain import CameraKey, Detections, Polygon
from pipelines.imaging import to_rgb
from tests.integration.agents.scene import SIZE
from tests.integration.agents.world import (
    GATE,
    Host,
    gate_on_air,
    plan,
    seen_in,
    watching,
)
from tests.integration.bridge.world import Servers, until
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import encode

# The street's right half, without the row of squares that carries the number.
HALF: Polygon = ((0.5, 0.2), (1.0, 0.2), (1.0, 1.0), (0.5, 1.0))
DARK = 12
"""Of 255: black as the conversion of limited range gives it, with rounding."""


def _masked_part(rgb: np.ndarray) -> np.ndarray:
    return rgb[rgb.shape[0] // 5 + 1 :, rgb.shape[1] // 2 :]


async def test_nothing_behind_the_watcher_sees_what_a_mask_covers(
    servers: Servers, bridge: Bridge, cameras: DemoCameras, truth: GroundTruth
) -> None:
    """Not the detector, an alarm's picture, a crop, nor a snapshot; from the next frame on."""
    host = Host(plan(), partial(seen_in, truth))
    async with (
        gate_on_air(servers, bridge, cameras),
        watching(servers, host) as watcher,
    ):
        await until("looking", lambda: len(host.looked) >= 5)
        assert watcher.latest is not None
        assert _masked_part(to_rgb(watcher.latest.planes())).max() > 4 * DARK
        masked = plan().camera.model_copy(update={"masks": (HALF,)})
        host.plan_now = plan(2, camera=masked)
        frames = watcher.status().frames
        await until("the new masks", lambda: watcher.status().frames >= frames + 3)
        host.alarms.clear()
        host.crops.clear()
        looked = len(host.looked)
        await until("looking on", lambda: len(host.looked) >= looked + 3)
        assert _masked_part(to_rgb(watcher.latest.planes())).max() <= DARK
        assert host.last is not None
        top, height = host.last.letterbox.pad[1], host.last.letterbox.content[1]
        assert _masked_part(host.last.pixels[top : top + height]).max() <= DARK
        # The detector of these tests knows the script, so alarms still come, with black pictures.
        await until("an alarm and a crop", lambda: host.alarms and host.crops)
    for _, picture in host.alarms:
        assert _masked_part(to_rgb(picture)).max() <= DARK
    inside = [
        crop for crop in host.crops if crop.sighting.box[0] > 0.5 and crop.sighting.box[1] > 0.2
    ]
    assert all(crop.pixels.max() <= DARK for crop in inside)


async def test_two_watchers_of_one_process_see_each_its_own_camera(
    servers: Servers, bridge: Bridge, cameras: DemoCameras, truth: GroundTruth
) -> None:
    """Frames of all cameras arrive in one thread: none may reach another camera's watcher."""
    other_size = (320, 192)
    yard = CameraKey("globex", "yard")
    other_plan = plan(
        camera=plan().camera.model_copy(update={"tenant": yard.tenant, "id": yard.camera}), rules=()
    )
    host, other = (
        Host(plan(), partial(seen_in, truth)),
        Host(other_plan, lambda _: Detections.empty()),
    )
    clip = encode({"profile": "high"}, frames=25, gop=25, size=other_size)
    async with (
        RtspCamera(clip).serving() as camera,
        gate_on_air(servers, bridge, cameras) as url,
        watching(servers, host) as watcher,
        watching(servers, other, yard) as second,
    ):
        await bridge.sync(
            (
                await servers.assignment(GATE, url),
                await servers.assignment(yard, SecretStr(camera.url())),
            )
        )
        sizes: dict[CameraKey, set[tuple[int, int]]] = {GATE: set(), yard: set()}

        def looked_at_both() -> bool:
            for each in (watcher, second):
                if each.latest is not None:
                    sizes[each.key].add((each.latest.stamp.width, each.latest.stamp.height))
            return min(watcher.status().frames, second.status().frames) >= 100

        await until("a hundred frames of each", looked_at_both)
    assert sizes == {GATE: {SIZE}, yard: {other_size}}
