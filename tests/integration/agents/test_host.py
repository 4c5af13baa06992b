"""A whole agent host in this process: LiveKit's jobs in, alarms with their snapshots out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from agents import host as host_module
from agents.host import AgentHost
from cluster.bridge.bridge import Bridge
from cluster.controller.dispatch import LiveKitDispatcher
from cluster.core.work_orders import WorkOrder
from cluster.demo.scene import GroundTruth
from cluster.demo.simulator import DemoCameras
from cluster.stores.bus import AlarmStream
from pipelines.attention import Urgency
from pipelines.domain import Crop, Detections, LetterboxedFrame, WorkOwner
from pipelines.errors import NotFoundError
from tests.integration.agents.scene import number_in
from tests.integration.agents.world import GATE, gate_on_air, plan, seen_in
from tests.integration.bridge.world import PATIENCE_S, Servers, until


class Models:
    """Detector and embedder, as their Serve handles look to a caller."""

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.crops: list[Crop] = []
        self.detect = SimpleNamespace(remote=self._detect)
        self.remember = SimpleNamespace(remote=self._remember)

    async def _detect(self, frame: LetterboxedFrame, order: WorkOrder, urgency: int) -> Detections:
        assert order.owner == WorkOwner(*GATE)
        assert urgency in iter(Urgency)
        self.loops.add(asyncio.get_running_loop())
        top = frame.letterbox.pad[1]
        return seen_in(self._truth, number_in(frame.pixels[top:, :, 1]))

    async def _remember(self, crop: Crop, order: WorkOrder) -> None:
        assert order.owner == WorkOwner(*GATE)
        self.loops.add(asyncio.get_running_loop())
        self.crops.append(crop)


@pytest.fixture
def models(truth: GroundTruth, monkeypatch: pytest.MonkeyPatch) -> Models:
    """In the place of what Ray Serve runs."""
    models = Models(truth)
    monkeypatch.setattr(host_module, "deployment", lambda _: models)
    return models


@contextlib.asynccontextmanager
async def host_of(servers: Servers) -> AsyncIterator[AgentHost]:
    """A host that LiveKit may send watchers to."""
    host = AgentHost(servers.settings, "host-0")
    try:
        await until("registered", lambda: host.status().registered)
        yield host
    finally:
        await host.aclose()


async def dispatch(servers: Servers, host: AgentHost) -> None:
    """Send a watcher to the gate, as the controller does."""
    dispatcher = LiveKitDispatcher(servers.settings.livekit)
    try:
        await dispatcher.dispatch(GATE)
    finally:
        await dispatcher.aclose()
    await until("a watcher", lambda: [w.key for w in host.status().watchers] == [GATE])


async def test_alarms_reach_the_stream_with_their_snapshots(
    servers: Servers,
    bridge: Bridge,
    cameras: DemoCameras,
    models: Models,
    redis_client: Redis,
) -> None:
    """And objects are remembered; every call of a model comes from the loop of the host."""
    stream = AlarmStream(redis_client, GATE.tenant)
    blobs = Path(servers.settings.blob_url.removeprefix("file://"))
    async with gate_on_air(servers, bridge, cameras), host_of(servers) as host:
        await host.sync((plan(),), ())
        await dispatch(servers, host)
        async with asyncio.timeout(PATIENCE_S):
            while not (entries := await stream.read("0", count=10)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await until("an object", lambda: models.crops)
        alarm = entries[0].alarm
        assert alarm.snapshot is not None
        assert (blobs / GATE.tenant / alarm.snapshot).stat().st_size > 0
        times = list(alarm.stages.model_dump().values())
        assert times == sorted(times)
        assert 0 not in times
        assert models.loops == {asyncio.get_running_loop()}
        assert (await host.snapshot(GATE.tenant, GATE.camera)).startswith(b"\xff\xd8")
        status = await host.sync((), ())
        assert status.revisions == {GATE: 1}
        assert status.watchers[0].errors == 0
        assert status.counts["alarms_published"] >= 1
    assert (await stream.read("0", count=10))[0].alarm == alarm


async def test_a_watcher_leaves_when_it_is_dropped_and_when_its_camera_is_removed(
    servers: Servers, bridge: Bridge, cameras: DemoCameras, models: Models
) -> None:
    async with gate_on_air(servers, bridge, cameras), host_of(servers) as host:
        await host.sync((plan(),), ())
        await dispatch(servers, host)
        await host.drop(GATE)
        await until("it is dropped", lambda: host.status().watchers == ())
        await servers.eventually("it left", partial(servers.identities, GATE), {"camera"})
        await dispatch(servers, host)
        await until("frames", lambda: host.status().watchers[0].analysed >= 3)
        status: Any = await host.sync((), (GATE,))
        assert status.revisions == {}
        await until("it is gone", lambda: host.status().watchers == ())
        with pytest.raises(NotFoundError):
            await host.snapshot(GATE.tenant, GATE.camera)
        await servers.eventually("it left", partial(servers.identities, GATE), {"camera"})
