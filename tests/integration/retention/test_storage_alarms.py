"""Alarms about what is kept: one per incident, of a camera or of a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid5

import pytest

from cluster.controller.system_alarms import system_alarm
from cluster.core.retention_settings import RetentionSettings
from cluster.retention.alarms import StorageAlarms
from cluster.stores.bus import CameraStatus
from pipelines.domain import STORAGE_CAMERA as STORAGE
from pipelines.domain import (
    AlarmSource,
    CameraKey,
    CameraState,
    RecordingState,
    RecordingStatus,
    SystemKind,
)
from pipelines.errors import UnavailableError
from pipelines.footage import Census
from pipelines.retention import SpaceState, Usage
from tests.factories import NAMESPACE, make_alarm
from tests.integration.retention.site import Site

TENANTS = ("acme", "globex")
FAILING = RecordingStatus(state=RecordingState.FAILING, reason="no space left on device.")
RECORDING = RecordingStatus(state=RecordingState.RECORDING)
WAITING = RecordingStatus(state=RecordingState.RECORDING, reason="the storage is away.")
OFF = RecordingStatus(state=RecordingState.OFF, reason="switched off")


class Gone:
    """What the guard of the footage says."""

    def __init__(self) -> None:
        self.looked, self.away = True, False
        self.lost: Mapping[str, Census] = {}


class Watch:
    """The alarms, with boards that a test fills. What is sent goes into the records, as the
    listener would bring it there."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.boards: dict[str, dict[str, RecordingStatus]] = {tenant: {} for tenant in TENANTS}
        self.gone = Gone()
        self.sent: list[tuple[str, str, float]] = []
        self.refuses = False
        self.start_us = site.clock.now_us()
        self.restart()

    def restart(self) -> None:
        self.alarms = StorageAlarms(
            RetentionSettings(high_water=0.9, low_water=0.85),
            tenants=self._tenants,
            statuses=self._statuses,
            records=self.site.database.tenant,
            footage=self.gone,
            send=self._send,
            clock=self.site.clock,
        )

    async def until(self, second: int) -> None:
        """Checks every 15 s."""
        while (self.site.clock.now_us() - self.start_us) < second * 1_000_000:
            self.site.clock.advance(15)
            await self.alarms.check()

    async def raised(self, number: int, camera: str = "gate", **changes: object) -> UUID:
        """An alarm of a rule, now."""
        found = make_alarm(number, camera=camera)
        id = uuid5(NAMESPACE, f"{camera}/{number}")
        stages = found.stages.model_copy(update={"capture_us": self.site.clock.now_us()})
        alarm = found.model_copy(update={"id": id, "stages": stages} | changes)
        await self.site.database.tenant("acme").record_alarms([alarm])
        return id

    async def _tenants(self) -> tuple[str, ...]:
        return TENANTS

    async def _statuses(self, tenant: str) -> dict[str, CameraStatus]:
        return {
            camera: CameraStatus(
                camera=camera, state=CameraState.LIVE, since_us=self.start_us, recording=recording
            )
            for camera, recording in self.boards[tenant].items()
        }

    async def _send(self, key: CameraKey, kind: SystemKind, since_us: int) -> None:
        if self.refuses:
            raise UnavailableError("neither Redis nor the spool takes it.")
        self.sent.append((key.room, kind.value, (since_us - self.start_us) / 1e6))
        alarm = system_alarm(key, kind, since_us)
        await self.site.database.tenant(key.tenant).record_alarms([alarm])


@pytest.fixture
def watch(site: Site) -> Watch:
    return Watch(site)


async def test_a_recording_that_fails_is_said_once(watch: Watch) -> None:
    board = watch.boards["acme"]
    board |= {"gate": RECORDING, "yard": RECORDING}
    await watch.until(15)
    board["gate"] = FAILING
    await watch.until(45)
    assert watch.sent == []
    await watch.until(60)
    for second, status in ((120, RECORDING), (240, FAILING), (300, RECORDING), (400, FAILING)):
        board["gate"] = status
        await watch.until(second)
    assert watch.sent == [("acme.gate", "recording", 30)]
    board["gate"] = RECORDING
    await watch.until(600)
    board["gate"] = FAILING
    await watch.until(660)
    # From 600 on: the first check that finds it failing again.
    assert watch.sent[1:] == [("acme.gate", "recording", 615)]


async def test_what_cannot_be_sent_is_sent_later(watch: Watch) -> None:
    watch.boards["acme"] = {"gate": FAILING}
    watch.refuses = True
    await watch.until(60)
    watch.refuses = False
    await watch.until(90)
    assert watch.sent == [("acme.gate", "recording", 15)]


async def test_many_cameras_that_fail_together_are_one_incident(watch: Watch) -> None:
    watch.boards["acme"] = {f"cam-{n}": FAILING for n in range(7)}
    watch.boards["globex"] = {"gate": FAILING}
    await watch.until(120)
    assert sorted(watch.sent) == [
        (f"acme.{STORAGE}", "recording", 15),
        ("globex.gate", "recording", 15),
    ]


async def test_a_second_incident_of_many_cameras_is_said_and_a_restart_is_not(
    watch: Watch,
) -> None:
    """Of evidence, which nothing ever observes for the tenant as a whole."""

    async def pictures(first: int, snapshot: str | None) -> None:
        for n in range(7):
            await watch.raised(first + n, f"cam-{n}", snapshot=snapshot)

    await pictures(1, None)
    await watch.until(30)
    watch.restart()
    await pictures(11, None)
    await watch.until(60)
    assert [said[:2] for said in watch.sent] == [(f"acme.{STORAGE}", "evidence")]
    watch.site.clock.advance(300)
    await pictures(21, "alarms/1.jpg")
    await watch.until(375)
    watch.site.clock.advance(300)
    await pictures(31, None)
    await watch.until(690)
    assert [said[:2] for said in watch.sent] == [(f"acme.{STORAGE}", "evidence")] * 2


async def test_files_that_wait_for_long_are_one_incident_of_the_tenant(watch: Watch) -> None:
    watch.boards["acme"] = {"gate": WAITING, "yard": WAITING, "shed": OFF}
    await watch.until(300)
    assert watch.sent == []
    await watch.until(330)
    assert watch.sent == [(f"acme.{STORAGE}", "recording", 15)]


async def test_footage_that_is_gone_is_said_to_whom_it_belongs(watch: Watch) -> None:
    """And files that wait for it are no second incident."""
    watch.boards["acme"] = {"gate": WAITING}
    watch.gone.lost = {"acme": Census(200, 150)}
    await watch.until(600)
    assert watch.sent == [(f"acme.{STORAGE}", "footage", 15)]
    watch.gone.lost, watch.gone.away = {}, True
    await watch.until(630)
    assert watch.sent[1:] == [(f"globex.{STORAGE}", "footage", 615)]


async def test_a_disk_that_is_kept_at_its_mark_is_one_incident(watch: Watch) -> None:
    """The oldest goes each time that the mark is reached; that goes on for good."""
    watch.boards["acme"] = {"gate": RECORDING}
    watch.boards["globex"] = {"gate": OFF}

    async def disk(used: int, second: int, state: SpaceState = SpaceState.OK) -> None:
        watch.alarms.space(Usage(used, 100), state)
        await watch.until(second)

    await disk(89, 300)
    assert watch.sent == []
    await disk(90, 600, SpaceState.REMOVING)
    for n in range(5):
        await disk(85, 900 + n * 600)
        await disk(91, 1200 + n * 600, SpaceState.REMOVING)
    assert watch.sent == [(f"acme.{STORAGE}", "disk", 315)]
    await disk(92, 3900, SpaceState.EXHAUSTED)
    assert watch.sent[1:] == [(f"acme.{STORAGE}", "disk-full", 3615)]
    await disk(80, 4200)
    await disk(95, 4500)
    assert watch.sent[2:] == [(f"acme.{STORAGE}", "disk", 4215)]


async def test_alarms_without_pictures_are_one_incident_of_their_camera(watch: Watch) -> None:
    await watch.raised(1, snapshot="alarms/1.jpg")
    await watch.raised(2, "yard", source=AlarmSource.BATCH, snapshot=None)
    await watch.until(15)
    assert watch.sent == []
    for number in (3, 4):
        watch.site.clock.advance(1)
        await watch.raised(number, snapshot=None)
    await watch.until(200)
    assert watch.sent == [("acme.gate", "evidence", 17 + 15)]


async def test_a_process_that_starts_does_not_say_it_again(watch: Watch) -> None:
    watch.boards["acme"] = {"gate": FAILING}
    await watch.until(90)
    watch.restart()
    await watch.until(300)
    assert len(watch.sent) == 1
    watch.boards["acme"] = {"gate": RECORDING}
    await watch.until(600)
    watch.boards["acme"] = {"gate": FAILING}
    await watch.until(700)
    assert len(watch.sent) == 2


async def test_before_anybody_looked_nothing_counts_as_well(watch: Watch) -> None:
    """Else a process that starts would say again what the one before said."""
    watch.boards["acme"] = {"gate": RECORDING}
    watch.gone.lost = {"acme": Census(200, 150)}
    watch.alarms.space(Usage(95, 100), SpaceState.REMOVING)
    await watch.until(30)
    assert len(watch.sent) == 2
    watch.restart()
    lost, watch.gone.lost, watch.gone.looked = watch.gone.lost, {}, False
    watch.alarms.space(None, SpaceState.OK)
    await watch.until(60)
    watch.gone.lost, watch.gone.looked = lost, True
    watch.alarms.space(Usage(95, 100), SpaceState.REMOVING)
    await watch.until(300)
    assert len(watch.sent) == 2


async def test_a_camera_that_is_removed_is_forgotten(watch: Watch) -> None:
    watch.boards["acme"] = {"gate": FAILING, "yard": RECORDING}
    await watch.until(15)
    del watch.boards["acme"]["gate"]
    await watch.until(300)
    assert watch.sent == []
