"""A watcher under load, and when what it leans on goes away and comes back."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import numpy as np
from pydantic import SecretStr

from agents.analysis import MAX_HELD_CROPS
from agents.watcher import Watcher
from cluster.bridge.bridge import Bridge
from cluster.demo.scene import GroundTruth
from cluster.demo.simulator import DemoCameras
from pipelines.clock import SystemClock
from pipelines.domain import Detections, Sighting, TrackPath
from pipelines.errors import UnavailableError
from tests.integration.agents.world import GATE, Host, gate_on_air, plan, seen_in, watching
from tests.integration.bridge.world import Servers, until
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip, encode

CROWD = 90


async def test_a_slow_detector_lowers_the_rate_and_nothing_piles_up(
    servers: Servers, bridge: Bridge, cameras: DemoCameras, truth: GroundTruth
) -> None:
    host = Host(plan(), partial(seen_in, truth), delay_s=0.5)
    clock = SystemClock()
    async with (
        gate_on_air(servers, bridge, cameras),
        watching(servers, host) as watcher,
    ):
        await until("some analysed", lambda: watcher.status().analysed >= 8)
        status = watcher.status()
        assert host.most_in_flight == 1
        # Five of ten wanted frames a second are due while it is busy.
        assert status.skipped["busy"] >= 8
        # What it looks at is of now: a queue would have grown by 23 frames for each one analysed.
        ages = []
        for _ in range(3):
            analysed = watcher.status().analysed
            await until("another", lambda: watcher.status().analysed > analysed)  # noqa: B023
            ages.append(clock.now_us() - watcher.status().last_analysed_us)
        assert min(ages) < 2_000_000
        host.delay_s = 0.0
        rate = watcher.status().skipped["rate"]
        await until("as wanted again", lambda: watcher.status().analysed_fps > 5)
        assert watcher.status().skipped["rate"] > rate


async def test_a_detector_that_fails_is_counted_and_asked_again(
    servers: Servers, bridge: Bridge, cameras: DemoCameras, truth: GroundTruth
) -> None:
    broken = True

    def look(number: int) -> Detections:
        if broken:
            raise UnavailableError("the detector is away")
        return seen_in(truth, number)

    host = Host(plan(), look)
    async with (
        gate_on_air(servers, bridge, cameras),
        watching(servers, host) as watcher,
    ):
        await until("failures", lambda: watcher.status().errors >= 5)
        assert watcher.status().analysed == 0
        assert watcher.latest is not None
        broken = False
        await until("analysed", lambda: watcher.status().analysed >= 5)
        errors = watcher.status().errors
        await until("more", lambda: watcher.status().analysed >= 10)
        assert watcher.status().errors == errors


async def test_the_memory_of_held_crops_is_bounded(
    servers: Servers, bridge: Bridge, cameras: DemoCameras
) -> None:
    """More objects than anybody holds crops of: the oldest go, the watcher goes on."""
    columns, rows = 15, CROWD // 15
    boxes = [
        (x * 42 + 4, y * 56 + 20, x * 42 + 34, y * 56 + 64)
        for y, x in itertools.product(range(rows), range(columns))
    ]
    crowd = Detections(
        np.array(boxes, np.float32), np.full(CROWD, 0.9, np.float32), ("person",) * CROWD
    )
    host = Host(plan(rules=()), lambda _: crowd)
    async with (
        gate_on_air(servers, bridge, cameras),
        watching(servers, host) as watcher,
    ):
        await until("the crowd is remembered", lambda: host.crops)
        await until("looking on", lambda: watcher.status().analysed >= 30)
        assert watcher.held_crops == MAX_HELD_CROPS
        assert watcher.status().errors == 0
        # Nobody is there any more: what was held goes too, in time; nothing new is held.
        host.look = lambda _: Detections.empty()
        analysed = watcher.status().analysed
        await until("looking on", lambda: watcher.status().analysed >= analysed + 10)
        assert watcher.held_crops <= MAX_HELD_CROPS
    assert len({crop.sighting.track for crop in host.crops}) <= CROWD
    # Whose crop had to go is told of all the same, without a picture.
    assert any(isinstance(update, Sighting) for update in host.updates)


async def test_the_bridge_leaves_and_another_comes(
    servers: Servers, bridge: Bridge, cameras: DemoCameras, truth: GroundTruth
) -> None:
    """The camera is ejected and comes back with new tracks and new frame numbers."""
    host = Host(plan(), partial(seen_in, truth))
    async with (
        gate_on_air(servers, bridge, cameras) as url,
        watching(servers, host) as watcher,
    ):
        await until("looking", lambda: watcher.status().analysed >= 5)
        assignment = (await servers.assignment(GATE, url),)
        await bridge.sync(())
        await servers.eventually("camera left", partial(servers.identities, GATE), {"watcher"})
        analysed = watcher.status().analysed
        await bridge.sync(assignment)
        await until("looking again", lambda: watcher.status().analysed >= analysed + 10)
        # And one that takes the place of another without a good-bye, as after a crash.
        other = Bridge(servers.settings)
        try:
            await other.sync(assignment)
            await until("the other one", lambda: other.status().cameras[0].in_room)
            await bridge.sync(())
            analysed = watcher.status().analysed
            await until("looking on", lambda: watcher.status().analysed >= analysed + 10)
        finally:
            await other.aclose()


async def test_the_sub_stream_is_watched_where_there_is_one(
    servers: Servers, bridge: Bridge
) -> None:
    main, sub = _clip((320, 192)), _clip((256, 256))
    host = Host(plan(), lambda _: Detections.empty())
    async with RtspCamera(main).serving() as camera, RtspCamera(sub).serving() as small:
        url, sub_url = SecretStr(camera.url()), SecretStr(small.url())
        async with watching(servers, host) as watcher:
            # The watcher may be there first.
            await bridge.sync((await servers.assignment(GATE, url, sub_url),))
            await until("sub-stream", lambda: _size(watcher) == (256, 256))
            analysed = watcher.status().analysed
            await until("analysed", lambda: watcher.status().analysed > analysed + 5)
            assert _size(watcher) == (256, 256)
            # Its owner takes the sub-stream away.
            await bridge.sync((await servers.assignment(GATE, url, version="2"),))
            await until("main", lambda: _size(watcher) == (320, 192))
            analysed = watcher.status().analysed
            await until("analysed", lambda: watcher.status().analysed > analysed + 5)


def _clip(size: tuple[int, int]) -> Clip:
    return encode({"profile": "high"}, frames=25, gop=25, size=size)


def _size(watcher: Watcher) -> tuple[int, int] | None:
    latest = watcher.latest
    return (latest.stamp.width, latest.stamp.height) if latest else None


async def test_a_watcher_that_is_let_go_of_leaves_nothing(
    servers: Servers, bridge: Bridge, cameras: DemoCameras, truth: GroundTruth
) -> None:
    """Also in the middle of a frame; what was to be remembered is handed over, once."""
    host = Host(plan(), partial(seen_in, truth))
    async with gate_on_air(servers, bridge, cameras):
        async with watching(servers, host) as watcher:
            await until("tracks", lambda: watcher.held_crops > 0)
            host.delay_s = 30.0
            await until("in flight", lambda: host.in_flight == 1)
            await watcher.aclose()
            crops = len(host.crops)
            paths = sum(isinstance(update, TrackPath) for update in host.updates)
            assert crops > 0
            assert paths > 0
            await watcher.aclose()
            assert len(host.crops) == crops
            assert sum(isinstance(update, TrackPath) for update in host.updates) == paths
        await servers.eventually("left", partial(servers.identities, GATE), {"camera"})
        left = [t.get_name() for t in asyncio.all_tasks() if GATE.room in t.get_name()]
        assert not [name for name in left if name.startswith(("read ", "analyse "))]
