"""The system's own alarms: once each, over the tenant's stream into the records, also after a
restart of the controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cluster.controller.coverage import CoverageKeeper
from cluster.controller.system_alarms import SystemAlarms, SystemAlarmSender, system_alarm
from cluster.stores.bus import AlarmPublisher, AlarmStream
from cluster.stores.db import AlarmQuery, Database, migrate
from pipelines.clock import ManualClock
from pipelines.domain import CameraKey, Fault, PictureFault, SystemKind
from pipelines.ledger import Cover, CoverageReport
from tests.factories import CIPHER, make_camera

S = 1_000_000
T0 = 1_700_000_000 * S
GATE = CameraKey("acme", "gate")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/atalaia.db"
    await migrate(url)
    async with Database(url, cipher=CIPHER) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        await database.tenant("acme").add_camera(make_camera(id="gate"))
        yield database


class Site:
    """A controller's keeper and alarms, which can start again."""

    def __init__(self, database: Database, valkey: str, redis: Redis, folder: Path) -> None:
        self.clock = ManualClock(T0)
        self._database, self._redis = database, redis
        self.sender = SystemAlarmSender(partial(AlarmPublisher, valkey, folder, "controller"))
        self.restart()

    def restart(self) -> None:
        self.keeper = CoverageKeeper(self._database.coverage)
        self.alarms = SystemAlarms(
            self.keeper, self._database.coverage, self.sender.publish, self.clock, 60
        )

    async def until(
        self,
        second: int,
        cause: Cover | None,
        *,
        picture: Fault | None = None,
        run_from_s: int = 0,
    ) -> None:
        """Rounds of two seconds until a second, then what the keeper does in intervals."""
        while self.clock.now_us() < T0 + second * S:
            self.clock.advance(2)
            now_us = self.clock.now_us()
            run = (T0 + run_from_s * S, now_us) if cause is None else None
            blinded = picture is not None and picture.kind.blinds
            fault = (Cover(picture.kind.value), picture.since_us) if blinded and picture else None
            self.keeper.observe({GATE: CoverageReport(now_us, cause, run, fault, picture)})
        await self.keeper.flush()
        await self.alarms.check()

    async def told(self) -> list[tuple[SystemKind, float]]:
        """Kind and second of each alarm on the stream."""
        entries = await AlarmStream(self._redis, "acme").read("0", count=100)
        return [
            (SystemKind(entry.alarm.kind), (entry.alarm.capture_us - T0) / S) for entry in entries
        ]


@pytest.fixture
async def site(
    database: Database, valkey: str, redis_client: Redis, tmp_path: Path
) -> AsyncIterator[Site]:
    site = Site(database, valkey, redis_client, tmp_path / "spool")
    yield site
    await site.sender.aclose()


async def test_a_camera_that_is_blind_for_too_long(site: Site) -> None:
    await site.until(20, None)
    await site.until(70, Cover.CAMERA)
    assert await site.told() == []
    await site.until(90, Cover.CAMERA)
    await site.until(300, Cover.CAMERA)
    assert await site.told() == [(SystemKind.BLIND, 20)]
    await site.until(320, None, run_from_s=302)
    await site.until(420, Cover.WATCHER)
    assert await site.told() == [(SystemKind.BLIND, 20), (SystemKind.BLIND, 320)]


async def test_short_blindness_and_switched_off_cameras_raise_nothing(site: Site) -> None:
    await site.until(20, None)
    await site.until(60, Cover.CAMERA)
    await site.until(80, None, run_from_s=62)
    await site.until(400, Cover.OFF)
    assert await site.told() == []


async def test_a_controller_that_starts_again_raises_it_not_again(site: Site) -> None:
    await site.until(20, None)
    await site.until(120, Cover.CAMERA)
    site.restart()
    site.clock.advance(40)
    await site.until(300, Cover.CAMERA)
    await site.until(320, Cover.CAMERA)
    assert await site.told() == [(SystemKind.BLIND, 20)]


async def test_a_picture_that_shows_nothing_says_why_and_is_not_blind_as_well(site: Site) -> None:
    black = Fault(PictureFault.BLACK, T0 + 30 * S)
    await site.until(44, None)
    await site.until(60, None, picture=black)
    await site.until(300, None, picture=black)
    await site.until(320, None)
    moved = Fault(PictureFault.MOVED, T0 + 400 * S)
    await site.until(460, None, picture=moved)
    await site.until(600, None, picture=moved)
    assert await site.told() == [(SystemKind.BLACK, 30), (SystemKind.MOVED, 400)]


async def test_a_camera_that_is_cut_while_its_picture_is_black_is_blind(site: Site) -> None:
    await site.until(44, None)
    await site.until(300, None, picture=Fault(PictureFault.BLACK, T0 + 30 * S))
    assert await site.told() == [(SystemKind.BLACK, 30)]
    await site.until(315, Cover.CAMERA)
    await site.until(3_600, Cover.CAMERA)
    assert [kind for kind, _ in await site.told()] == [SystemKind.BLACK, SystemKind.BLIND]


async def test_a_picture_at_the_edge_of_a_fault_does_not_flood_the_tenant(site: Site) -> None:
    """Four an hour about the picture; that the camera is away is said all the same."""
    for second in range(60, 1_260, 60):
        await site.until(second, None, picture=Fault(PictureFault.BLACK, T0 + second * S))
        await site.until(second + 30, None)
    assert await site.told() == [(SystemKind.BLACK, second) for second in (60, 120, 180, 240)]
    await site.until(1_400, Cover.CAMERA)
    assert (await site.told())[4:] == [(SystemKind.BLIND, 1_230)]
    late = Fault(PictureFault.GLARE, T0 + 3_500 * S)
    await site.until(3_600, None, picture=late, run_from_s=1_402)
    await site.until(3_700, None, picture=late, run_from_s=1_402)
    assert (await site.told())[5:] == [(SystemKind.GLARE, 3_500)]


async def test_what_cannot_be_sent_is_sent_later(
    database: Database, redis_client: Redis, tmp_path: Path, valkey: str
) -> None:
    """The spool of the controller before is still locked."""
    folder = tmp_path / "spool"
    async with AlarmPublisher(valkey, folder, "controller"):
        site = Site(database, valkey, redis_client, folder)
        await site.until(20, None)
        await site.until(100, Cover.CAMERA)
        assert await site.told() == []
    await site.until(110, Cover.CAMERA)
    assert await site.told() == [(SystemKind.BLIND, 20)]
    await site.sender.aclose()


async def test_records_keep_it_as_an_alarm(database: Database) -> None:
    records, alarm = database.tenant("acme"), system_alarm(GATE, SystemKind.FROZEN, T0)
    for _ in range(2):
        await asyncio.wait_for(records.record_alarms([alarm]), 60)
    (kept,) = (await records.alarms(AlarmQuery(rule="system-frozen"))).items
    assert kept.alarm == alarm
    assert kept.alarm.kind is SystemKind.FROZEN
