"""Cameras, rules and alarms of one tenant, in both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4, uuid5

import pytest
from pydantic import SecretStr, ValidationError

from cluster.stores.db import AlarmQuery, AlarmState, CameraChanges, Database, TenantRecords
from pipelines.clock import ManualClock
from pipelines.domain import (
    Alarm,
    AlarmSource,
    CameraKey,
    CameraPlan,
    CountRule,
    LineCrossRule,
    LoiterRule,
    Rule,
    Schedule,
    Stages,
    Window,
)
from pipelines.errors import ConflictError, InputError, NotFoundError
from pipelines.identity import alarm_id
from pipelines.recognition import SAME_TIME_US, SameEvents
from tests.factories import NAMESPACE, T0_US, make_alarm, make_camera, make_rule


@pytest.fixture
def acme(database: Database) -> TenantRecords:
    return database.tenant("acme")


async def _plan(database: Database, camera: str = "gate", tenant: str = "acme") -> CameraPlan:
    (plan,) = [p for p in await database.platform().plans() if p.key == (tenant, camera)]
    return plan


# ---------------------------------------------------------------- cameras


async def test_a_camera_comes_back_as_it_was_added(acme: TenantRecords) -> None:
    camera = make_camera(
        name="Portão Ж 門", url="rtsp://u:p%40%23 :/?{@h/1?x=1", substream_url="rtsp://h/2"
    )
    await acme.add_camera(camera)
    assert await acme.camera("gate") == camera
    assert await acme.cameras() == [camera]


async def test_cameras_come_in_order_of_their_ids(acme: TenantRecords) -> None:
    for name in ("yard", "gate", "hall"):
        await acme.add_camera(make_camera(id=name))
    assert [camera.id for camera in await acme.cameras()] == ["gate", "hall", "yard"]


async def test_the_same_id_twice_is_a_conflict_and_changes_nothing(
    acme: TenantRecords, database: Database
) -> None:
    await acme.add_camera(make_camera())
    before = await _plan(database)
    with pytest.raises(ConflictError):
        await acme.add_camera(make_camera(name="Other"))
    assert await _plan(database) == before


async def test_many_at_once_make_one_camera(acme: TenantRecords) -> None:
    results = await asyncio.gather(
        *(acme.add_camera(make_camera(name=f"N{n}")) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, ConflictError) for result in results) == 7
    assert len(await acme.cameras()) == 1


async def test_unknown_camera(acme: TenantRecords) -> None:
    for call in (
        acme.camera("gate"),
        acme.update_camera("gate", CameraChanges(name="x")),
        acme.remove_camera("gate"),
        acme.rules("gate"),
        acme.add_rule("gate", make_rule()),
        acme.remove_rule("gate", "yard"),
    ):
        with pytest.raises(NotFoundError, match="camera gate"):
            await call


async def test_unknown_tenant(database: Database) -> None:
    nobody = database.tenant("nobody")
    assert await nobody.cameras() == []
    with pytest.raises(NotFoundError, match="tenant nobody"):
        await nobody.add_camera(make_camera("nobody"))
    with pytest.raises(NotFoundError, match="tenant nobody"):
        await nobody.record_alarms([make_alarm(tenant="nobody")])


async def test_changes_are_kept(acme: TenantRecords) -> None:
    await acme.add_camera(make_camera(substream_url="rtsp://h/2"))
    changed = await acme.update_camera(
        "gate", CameraChanges(name="New", url=SecretStr("rtsp://h/3"), substream_url=None)
    )
    assert (changed.name, changed.substream_url, changed.detect_fps) == ("New", None, 5.0)
    assert await acme.camera("gate") == changed
    with pytest.raises(ValidationError):
        await acme.update_camera("gate", CameraChanges(detect_fps=99))
    assert await acme.camera("gate") == changed


async def test_changes_at_once_are_all_kept(acme: TenantRecords) -> None:
    await acme.add_camera(make_camera())
    await asyncio.gather(
        acme.update_camera("gate", CameraChanges(name="New")),
        acme.update_camera("gate", CameraChanges(detect_fps=7)),
        acme.update_camera("gate", CameraChanges(enabled=False)),
    )
    camera = await acme.camera("gate")
    assert (camera.name, camera.detect_fps, camera.enabled) == ("New", 7, False)


async def test_removing_a_camera_removes_its_rules_and_keeps_its_alarms(
    acme: TenantRecords,
) -> None:
    await acme.add_camera(make_camera())
    await acme.add_rule("gate", make_rule())
    await acme.record_alarms([make_alarm()])
    await acme.remove_camera("gate")
    assert await acme.cameras() == []
    await acme.add_camera(make_camera())
    assert await acme.rules("gate") == []
    assert [item.alarm for item in (await acme.alarms(AlarmQuery())).items] == [make_alarm()]


# ---------------------------------------------------------------- rules and revisions

RULES: list[Rule] = [
    make_rule(
        schedule=Schedule(
            timezone="America/Sao_Paulo",
            windows=(Window(days=("mon",), start="22:00", end="06:00"),),
        )
    ),
    LineCrossRule(id="line", line=((0.1, 0.5), (0.9, 0.5)), direction="left_to_right"),
    LoiterRule(id="loiter", polygon=((0, 0), (1, 0), (1, 1)), seconds=0.1),
    CountRule(id="count", polygon=((0, 0), (1, 0), (1, 1)), n=3, seconds=2),
]


async def test_rules_of_every_kind_come_back_in_order(
    acme: TenantRecords, database: Database, clock: ManualClock
) -> None:
    await acme.add_camera(make_camera())
    for rule in RULES:
        clock.advance(1)
        await acme.add_rule("gate", rule)
    assert await acme.rules("gate") == RULES
    assert (await _plan(database)).rules == tuple(RULES)
    await acme.remove_rule("gate", "line")
    assert await acme.rules("gate") == [RULES[0], *RULES[2:]]
    with pytest.raises(NotFoundError, match="no rule line"):
        await acme.remove_rule("gate", "line")


async def test_a_rule_belongs_to_its_camera(acme: TenantRecords) -> None:
    await acme.add_camera(make_camera())
    await acme.add_camera(make_camera(id="hall"))
    await acme.add_rule("gate", make_rule())
    await acme.add_rule("hall", make_rule(classes=("car",)))
    with pytest.raises(ConflictError):
        await acme.add_rule("gate", make_rule())
    await acme.remove_rule("hall", "yard")
    assert await acme.rules("gate") == [make_rule()]


async def test_each_change_raises_the_revision_and_no_other_cameras(
    acme: TenantRecords, database: Database
) -> None:
    await acme.add_camera(make_camera(id="hall"))
    hall = await _plan(database, "hall")
    revisions = []

    async def note() -> None:
        revisions.append((await _plan(database)).revision)

    await acme.add_camera(make_camera())
    await note()
    await acme.update_camera("gate", CameraChanges(name="New"))
    await note()
    await acme.add_rule("gate", make_rule())
    await note()
    await acme.remove_rule("gate", "yard")
    await note()
    await acme.remove_camera("gate")
    await acme.add_camera(make_camera())
    await note()
    assert revisions == sorted(set(revisions))
    assert await _plan(database, "hall") == hall


async def test_what_changes_nothing_keeps_the_revision(
    acme: TenantRecords, database: Database
) -> None:
    await acme.add_camera(make_camera())
    before = await _plan(database)
    await acme.update_camera("gate", CameraChanges())
    await acme.update_camera("gate", CameraChanges(name="Gate"))
    assert await _plan(database) == before


# ---------------------------------------------------------------- alarms


async def test_recording_again_changes_nothing(acme: TenantRecords, clock: ManualClock) -> None:
    alarms = [make_alarm(n) for n in range(3)]
    assert await acme.record_alarms(alarms[:2]) == 2
    recorded_us = clock.now_us()
    clock.advance(5)
    await acme.acknowledge(alarms[0].id, "ana", 7)
    assert await acme.record_alarms([*alarms, alarms[2]]) == 1
    first = await acme.alarm(alarms[0].id)
    assert (first.state, first.recorded_us) == (AlarmState.ACKNOWLEDGED, recorded_us)
    assert await acme.record_alarms([]) == 0


def found_by_a_job(number: int, late_us: int, job: str) -> Alarm:
    """Event `number`, in another frame and by another track."""
    alarm = make_alarm(number)
    id = uuid5(NAMESPACE, f"{job}/{number}")
    stages = Stages(capture_us=alarm.capture_us + late_us)
    changed = {"id": id, "track": f"{job}-{number}", "stages": stages, "source": AlarmSource.BATCH}
    return alarm.model_copy(update=changed)


def by_time_and_place() -> Callable[[Alarm, list[Alarm]], Alarm | None]:
    events = SameEvents()
    return lambda alarm, earlier: events.known(alarm, earlier, {})


async def test_jobs_at_the_same_time_record_an_event_once(acme: TenantRecords) -> None:
    """Events five seconds apart; each job found all of them, in frames of its own."""
    numbers = range(0, 50, 5)
    await acme.record_alarms([make_alarm(n) for n in numbers[:3]])
    jobs = [[found_by_a_job(n, 100_000 * job, f"job{job}") for n in numbers] for job in (1, 2, 3)]
    recorded = await asyncio.gather(
        *(acme.record_new_events(alarms, by_time_and_place(), SAME_TIME_US) for alarms in jobs)
    )
    assert sum(len(new) for new in recorded) == len(numbers) - 3
    page = await acme.alarms(AlarmQuery(limit=100))
    seconds = sorted((record.alarm.capture_us - T0_US) // 1_000_000 for record in page.items)
    assert seconds == list(numbers)


async def test_an_event_under_the_id_of_another_gets_the_next(acme: TenantRecords) -> None:
    key = CameraKey("acme", "gate")
    first, later = (
        make_alarm(n, track="parked", id=alarm_id(key, "yard", "parked", 0)) for n in (0, 60)
    )
    await acme.record_alarms([first])
    [kept] = await acme.record_new_events([later], by_time_and_place(), SAME_TIME_US)
    assert (kept.episode, kept.id) == (1, alarm_id(key, "yard", "parked", 1))
    assert kept.capture_us == later.capture_us
    assert {record.alarm.id for record in (await acme.alarms(AlarmQuery())).items} == {
        first.id,
        kept.id,
    }


async def test_live_that_was_late_takes_the_place_of_a_job(acme: TenantRecords) -> None:
    """A listener that was away writes what its stream still has."""
    jobs = [found_by_a_job(n, 120_000, "job") for n in (0, 10, 20)]
    await acme.record_new_events(jobs, by_time_and_place(), SAME_TIME_US)
    await acme.acknowledge(jobs[1].id, "ana", 7)
    live = [make_alarm(0), make_alarm(10), make_alarm(30)]
    for _ in range(2):
        await acme.record_alarms(live)
    page = await acme.alarms(AlarmQuery())
    assert {record.alarm.id: record.acknowledged_by for record in page.items} == {
        live[0].id: None,
        live[1].id: "ana",
        live[2].id: None,
        jobs[2].id: None,
    }


async def test_an_alarm_comes_back_as_it_was_raised(acme: TenantRecords) -> None:
    alarm = make_alarm(
        stages=Stages(capture_us=T0_US + 1, received_us=2, published_us=2**53 + 1),
        confidence=0.1 + 0.2,
        snapshot="alarms/1.jpg",
    )
    await acme.record_alarms([alarm])
    record = await acme.alarm(alarm.id)
    assert record.alarm == alarm
    assert record.state is AlarmState.NEW


async def test_more_alarms_than_one_statement_takes(acme: TenantRecords) -> None:
    alarms = [make_alarm(n) for n in range(1201)]
    assert await acme.record_alarms(alarms) == 1201


async def test_recording_at_once_counts_each_alarm_once(acme: TenantRecords) -> None:
    alarms = [make_alarm(n) for n in range(40)]
    counts = await asyncio.gather(*(acme.record_alarms(alarms) for _ in range(4)))
    assert sum(counts) == 40


async def test_filters(acme: TenantRecords) -> None:
    alarms = [
        make_alarm(n, camera="gate" if n % 2 else "hall", rule="r1" if n < 3 else "r2")
        for n in range(6)
    ]
    await acme.record_alarms(alarms)
    await acme.acknowledge(alarms[5].id, "ana", 1)

    async def numbers(**query: object) -> list[int]:
        page = await acme.alarms(AlarmQuery.model_validate(query))
        return [item.alarm.frame_id for item in page.items]

    assert await numbers() == [5, 4, 3, 2, 1, 0]
    assert await numbers(camera="gate") == [5, 3, 1]
    assert await numbers(rule="r1") == [2, 1, 0]
    assert await numbers(camera="gate", rule="r1") == [1]
    assert await numbers(state="acknowledged") == [5]
    assert await numbers(state="new", camera="gate") == [3, 1]
    assert await numbers(since_us=T0_US + 2_000_000, until_us=T0_US + 4_000_000) == [3, 2]
    assert await numbers(camera="nowhere") == []


async def test_pages_end_exactly_at_the_last_alarm(acme: TenantRecords) -> None:
    await acme.record_alarms([make_alarm(n) for n in range(4)])
    first = await acme.alarms(AlarmQuery(limit=2))
    second = await acme.alarms(AlarmQuery(limit=2, cursor=first.next_cursor))
    assert [i.alarm.frame_id for i in [*first.items, *second.items]] == [3, 2, 1, 0]
    assert second.next_cursor is None
    with pytest.raises(InputError, match="cursor"):
        await acme.alarms(AlarmQuery(cursor="nonsense"))


async def test_equal_capture_times_are_paged_by_id_in_both_databases(acme: TenantRecords) -> None:
    alarms = [make_alarm(n, stages=Stages(capture_us=T0_US)) for n in range(20)]
    await acme.record_alarms(alarms)
    seen, cursor = [], None
    while True:
        page = await acme.alarms(AlarmQuery(limit=3, cursor=cursor))
        seen += [item.alarm.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted((alarm.id for alarm in alarms), reverse=True)


async def test_the_first_acknowledgement_counts(acme: TenantRecords) -> None:
    await acme.record_alarms([make_alarm()])
    first = await acme.acknowledge(make_alarm().id, "ana", 10)
    assert (first.state, first.acknowledged_by, first.acknowledged_at_us) == (
        AlarmState.ACKNOWLEDGED,
        "ana",
        10,
    )
    assert await acme.acknowledge(make_alarm().id, "bob", 20) == first
    with pytest.raises(NotFoundError):
        await acme.acknowledge(uuid4(), "ana", 1)


async def test_text_that_the_database_does_not_take_is_the_callers_mistake(
    acme: TenantRecords, database_url: str
) -> None:
    camera = make_camera(name="a\x00b")
    if database_url.startswith("sqlite"):
        await acme.add_camera(camera)
        assert await acme.camera("gate") == camera
        return
    with pytest.raises(InputError, match="does not take"):
        await acme.add_camera(camera)
