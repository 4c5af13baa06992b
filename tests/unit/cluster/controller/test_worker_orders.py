"""Workers do for a tenant only what an order of that tenant asks."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import workers
from cluster.controller.workers import BridgeActor, HostActor
from cluster.core.settings import Settings
from cluster.core.work_orders import PLATFORM, Purpose, WorkOrder
from pipelines.domain import CameraKey, WorkOwner
from pipelines.errors import WorkRefusedError
from tests.factories import ORDERS, SIGNED

SETTINGS = Settings(ray=SIGNED)
GATE = CameraKey("acme", "gate")


# Orders expire: those of the module's beginning may be too old when its tests run.
def fleet() -> WorkOrder:
    return ORDERS.issue(PLATFORM, Purpose.FLEET)


def of_gate() -> WorkOrder:
    return ORDERS.issue(WorkOwner(*GATE), Purpose.SNAPSHOT)


class Heard:
    """A host or bridge that writes down what it is asked."""

    def __init__(self, *_: object) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def sync(self, *arguments: object) -> str:
        self.asked.append(arguments)
        return "synced"

    async def drop(self, key: CameraKey) -> None:
        self.asked.append(("drop", key))

    async def snapshot(self, tenant: str, camera: str, quality: int) -> bytes:
        return f"{tenant}/{camera}/{quality}".encode()


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of LiveKit's native client, and of what uses it."""
    monkeypatch.setattr(workers, "prepare_worker", lambda: None)
    monkeypatch.setattr(workers, "HOST_MODULE", __name__)
    monkeypatch.setattr(workers, "HOST_CLASS", "Heard")
    monkeypatch.setattr("cluster.bridge.bridge.Bridge", Heard)


async def test_a_host_shows_the_camera_of_the_order() -> None:
    host = HostActor(SETTINGS, "host-0")
    assert await host.snapshot(of_gate(), 80) == b"acme/gate/80"


@pytest.mark.parametrize(
    "order",
    [
        None,
        of_gate()._replace(owner=WorkOwner("globex", "gate")),
        ORDERS.issue(WorkOwner("acme"), Purpose.SNAPSHOT),
        ORDERS.issue(WorkOwner(*GATE), Purpose.DETECT),
        fleet(),
    ],
    ids=["none", "forged", "no camera", "another purpose", "the fleet's"],
)
async def test_a_host_shows_nothing_without_one(order: Any) -> None:
    with pytest.raises(WorkRefusedError):
        await HostActor(SETTINGS, "host-0").snapshot(order, 80)


async def test_workers_take_their_cameras_from_the_platform_only() -> None:
    host, bridge = HostActor(SETTINGS, "host-0"), BridgeActor(SETTINGS)
    synced: Any = await host.sync(fleet(), (), (GATE,))
    bridged: Any = await bridge.sync(fleet(), ())
    assert (synced, bridged) == ("synced", "synced")
    await host.drop(fleet(), GATE)
    heard: Any = host._host
    assert heard.asked == [((), (GATE,)), ("drop", GATE)]
    acme = ORDERS.issue(WorkOwner("acme"), Purpose.FLEET)
    for refused in (host.sync(acme, (), ()), host.drop(acme, GATE), bridge.sync(acme, ())):
        with pytest.raises(WorkRefusedError, match="another tenant"):
            await refused
    assert len(heard.asked) == 2
