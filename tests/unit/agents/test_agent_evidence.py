"""An image is stored before the alarm or the object that it shows is told of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agents import evidence
from agents.evidence import MAX_REMEMBERS_IN_FLIGHT, Evidence
from cluster.media.jpeg import to_jpeg
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import TrackUpdate
from pipelines.domain import Alarm, Crop, Sighting
from pipelines.errors import UnavailableError
from pipelines.identity import object_snapshot_key
from pipelines.imaging import I420
from tests.factories import make_alarm, make_sighting
from tests.unit.agents.host_parts import make_image, turns


class Publishers:
    """Notes what was on the disk when an alarm or a sighting came."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.alarms: list[tuple[Alarm, bool]] = []
        self.updates: list[tuple[TrackUpdate, bool]] = []
        self.refuses = False
        self.came = asyncio.Event()

    async def publish(self, alarm: Alarm) -> None:
        if self.refuses:
            self.refuses = False
            raise RuntimeError("a bug")
        self.alarms.append((alarm, self._stored(alarm.tenant, alarm.snapshot)))
        self.came.set()

    def record_updates(self, updates: Sequence[TrackUpdate]) -> None:
        for item in updates:
            snapshot = item.snapshot if isinstance(item, Sighting) else None
            self.updates.append((item, self._stored(item.tenant, snapshot)))

    def _stored(self, tenant: str, key: str | None) -> bool:
        return key is not None and (self._folder / tenant / key).stat().st_size > 0


class Embedder:
    def __init__(self) -> None:
        self.crops: list[Crop] = []
        self.asked = asyncio.Semaphore(0)
        self.hold: asyncio.Event | None = None
        self.away = False

    async def remember(self, crop: Crop) -> None:
        self.asked.release()
        if self.hold is not None:
            await self.hold.wait()
        if self.away:
            raise UnavailableError("the embedder is away")
        self.crops.append(crop)


class World:
    def __init__(self, folder: Path) -> None:
        self.publishers, self.embedder = Publishers(folder), Embedder()
        self.evidence = Evidence(f"file://{folder}", self.publishers, self.embedder)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def make_crop(number: int = 0) -> Crop:
    pixels = np.zeros((16, 8, 3), np.uint8)
    pixels[..., 0] = 229
    return Crop(pixels, make_sighting(number))


async def test_whoever_reads_an_alarm_finds_its_snapshot(world: World, tmp_path: Path) -> None:
    world.evidence.raise_alarms([make_alarm()], make_image())
    await world.evidence.aclose()
    ((alarm, stored),) = world.publishers.alarms
    assert stored
    assert alarm.snapshot == f"alarms/{alarm.id}.jpg"
    assert (tmp_path / "acme" / alarm.snapshot).read_bytes() == to_jpeg(make_image())
    assert world.evidence.counts == {}


async def test_a_frame_is_encoded_once_for_all_its_alarms(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[I420] = []
    monkeypatch.setattr(evidence, "to_jpeg", lambda frame: encoded.append(frame) or to_jpeg(frame))
    world.evidence.raise_alarms([make_alarm(1), make_alarm(2), make_alarm(3)], make_image())
    await world.evidence.aclose()
    assert len(encoded) == 1
    assert all(stored for _, stored in world.publishers.alarms)
    assert len(list((tmp_path / "acme" / "alarms").iterdir())) == 3


async def test_an_alarm_goes_without_its_snapshot_where_that_cannot_be_stored(
    tmp_path: Path,
) -> None:
    (tmp_path / "acme").write_text("in the way of the folder")
    world = World(tmp_path)
    world.evidence.raise_alarms([make_alarm()], make_image())
    await world.evidence.aclose()
    ((alarm, _),) = world.publishers.alarms
    assert alarm.snapshot is None


async def test_an_alarm_does_not_wait_for_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = asyncio.Event()

    async def flush(self: TenantBlobs, key: str) -> None:
        await disk.wait()
        raise UnavailableError("the disk is too slow")

    monkeypatch.setattr(TenantBlobs, "flush", flush)
    world.evidence.raise_alarms([make_alarm()], make_image())
    await world.publishers.came.wait()
    assert world.evidence.counts == {}
    disk.set()
    await world.evidence.aclose()
    assert world.evidence.counts == {"snapshots_unflushed": 1}


async def test_a_bug_with_one_alarm_does_not_take_the_others(world: World) -> None:
    world.publishers.refuses = True
    world.evidence.raise_alarms([make_alarm(1), make_alarm(2), make_alarm(3)], make_image())
    await world.evidence.aclose()
    assert len(world.publishers.alarms) == 2


async def test_an_object_is_told_and_embedded_with_its_colour_and_image(
    world: World, tmp_path: Path
) -> None:
    world.evidence.remember(make_crop())
    await world.evidence.aclose()
    key = object_snapshot_key("gate", "track-0")
    wanted = make_sighting(colour="red", snapshot=key)
    assert world.publishers.updates == [(wanted, True)]
    assert [crop.sighting for crop in world.embedder.crops] == [wanted]
    assert world.evidence.counts == {}


async def test_an_object_is_told_and_embedded_without_an_image_that_cannot_be_stored(
    tmp_path: Path,
) -> None:
    (tmp_path / "acme").write_text("in the way of the folder")
    world = World(tmp_path)
    world.evidence.remember(make_crop())
    await world.evidence.aclose()
    wanted = make_sighting(colour="red")
    assert world.publishers.updates == [(wanted, False)]
    assert [crop.sighting for crop in world.embedder.crops] == [wanted]
    assert world.evidence.counts == {"object_pictures_failed": 1}


async def test_an_embedder_that_is_away_is_counted(world: World) -> None:
    world.embedder.away = True
    world.evidence.remember(make_crop())
    await world.evidence.aclose()
    assert len(world.publishers.updates) == 1
    assert world.evidence.counts == {"remembers_failed": 1}


async def test_crops_in_flight_are_bounded_and_every_object_is_told(world: World) -> None:
    world.embedder.hold = asyncio.Event()
    for number in range(MAX_REMEMBERS_IN_FLIGHT):
        world.evidence.remember(make_crop(number))
    world.evidence.remember(make_crop(100))
    assert world.publishers.updates == [(make_sighting(100), False)]
    assert world.evidence.counts == {"remembers_dropped": 1}
    world.embedder.hold.set()
    await world.evidence.aclose()
    assert len(world.embedder.crops) == MAX_REMEMBERS_IN_FLIGHT
    assert len(world.publishers.updates) == MAX_REMEMBERS_IN_FLIGHT + 1


async def test_there_is_room_again_where_crops_could_not_be_embedded(world: World) -> None:
    world.embedder.away = True
    for number in range(MAX_REMEMBERS_IN_FLIGHT):
        world.evidence.remember(make_crop(number))
    for _ in range(MAX_REMEMBERS_IN_FLIGHT):
        await world.embedder.asked.acquire()
    await turns(lambda: world.evidence.counts["remembers_failed"] == MAX_REMEMBERS_IN_FLIGHT)
    world.embedder.away = False
    world.evidence.remember(make_crop(100))
    await world.evidence.aclose()
    assert [crop.sighting.track for crop in world.embedder.crops] == ["track-100"]


async def test_closing_waits_for_what_was_taken_over(world: World) -> None:
    world.embedder.hold = asyncio.Event()
    world.evidence.remember(make_crop())
    closing = asyncio.create_task(world.evidence.aclose())
    await world.embedder.asked.acquire()
    assert not closing.done()
    world.embedder.hold.set()
    await closing
    assert len(world.embedder.crops) == 1
    await world.evidence.aclose()  # twice is once
