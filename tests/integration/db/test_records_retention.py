"""Policies, holds, reports, and what may go: in order, in batches, and of one tenant only."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, text

from cluster.stores.db import (
    AlarmQuery,
    Database,
    KindCount,
    ObjectQuery,
    RemovalCause,
    RetentionRun,
    StorageUse,
    TenantExpiry,
    TenantRetention,
    downgrade,
    migrate,
)
from cluster.stores.db.engine import open_engine
from cluster.stores.db.expiry import OldAlarm, OldObject, OldRecording
from cluster.stores.db.models import Base, TenantOwned, TenantRow
from pipelines.clock import ManualClock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, InputError, NotFoundError
from pipelines.ledger import Cover, Stretch
from pipelines.retention import (
    EARLIEST_US,
    EVENT_AFTER_US,
    EVENT_BEFORE_US,
    LATEST_US,
    HeldSpan,
    RetentionKind,
    RetentionPolicy,
    SpaceState,
    Window,
)
from tests.factories import T0_US, make_alarm, make_camera, make_path, make_sighting

S = 1_000_000
ALL = Window(EARLIEST_US, LATEST_US)
K = RetentionKind


def within(first_s: float, end_s: float) -> Window:
    """Seconds after T0."""
    return Window(T0_US + round(first_s * S), T0_US + round(end_s * S))


def make_segment(number: int, camera: str = "gate") -> Segment:
    """The file of second `number` after T0."""
    start_us = T0_US + number * S
    return Segment(
        camera=camera, start_us=start_us, end_us=start_us + S, origin_us=start_us, codec="h264",
        width=640, height=360, frames=25, size=100 + number, sha256="0" * 64,
        blob=f"r/{number}.mp4",
    )  # fmt: skip


@pytest.fixture
async def filled(database: Database) -> Database:
    """Ten of each for both tenants, the even ones with a picture."""
    for tenant in ("acme", "globex"):
        pictures = [f"p/{n}.jpg" if n % 2 == 0 else None for n in range(10)]
        await database.tenant(tenant).add_camera(make_camera(tenant))
        await database.tenant(tenant).record_alarms(
            [make_alarm(n, tenant, snapshot=pictures[n]) for n in range(10)]
        )
        tracks = database.tracks(tenant)
        await tracks.record_objects(
            [make_sighting(n, tenant, snapshot=pictures[n]) for n in range(10)]
        )
        await tracks.record_paths([make_path(n, tenant) for n in range(10)])
        for n in range(10):
            await database.recordings(tenant).add(make_segment(n))
    return database


@pytest.fixture
def acme(filled: Database) -> TenantExpiry:
    return filled.expiry("acme")


# ------------------------------------------------------------ what may go


async def test_alarms_come_in_order_and_in_batches(acme: TenantExpiry) -> None:
    first = await acme.alarms("gate", within(2, 8), 4)
    assert first == [
        OldAlarm(T0_US + n * S, make_alarm(n).id, f"p/{n}.jpg" if n % 2 == 0 else None)
        for n in (2, 3, 4, 5)
    ]
    second = await acme.alarms("gate", within(2, 8), 4, after=first[-1])
    assert [old.id for old in second] == [make_alarm(n).id for n in (6, 7)]
    assert await acme.alarms("gate", within(2, 8), 4, after=second[-1]) == []
    pictured = await acme.alarms("gate", ALL, 99, pictured=True)
    assert [old.snapshot for old in pictured] == [f"p/{n}.jpg" for n in (0, 2, 4, 6, 8)]
    assert await acme.alarms("yard", ALL, 99) == []


async def test_alarms_of_one_moment_are_told_apart(filled: Database, acme: TenantExpiry) -> None:
    same = [make_alarm(0).model_copy(update={"id": UUID(int=n)}) for n in range(1, 5)]
    await filled.tenant("acme").record_alarms(same)
    found: list[OldAlarm] = []
    while batch := await acme.alarms("gate", within(0, 1), 2, after=found[-1] if found else None):
        found += batch
    assert sorted(old.id for old in found) == sorted([*(a.id for a in same), make_alarm(0).id])


async def test_an_alarm_whose_picture_is_gone_says_so(filled: Database, acme: TenantExpiry) -> None:
    await acme.forget_alarm_pictures([make_alarm(2).id, make_alarm(3).id])
    records = filled.tenant("acme")
    assert (await records.alarm(make_alarm(2).id)).alarm == make_alarm(2)
    assert (await records.alarm(make_alarm(4).id)).alarm.snapshot == "p/4.jpg"
    left = await acme.alarms("gate", ALL, 99, pictured=True)
    assert [old.snapshot for old in left] == [f"p/{n}.jpg" for n in (0, 4, 6, 8)]
    await acme.remove_alarms([make_alarm(n).id for n in range(1, 10)])
    page = await records.alarms(AlarmQuery())
    assert [record.alarm.id for record in page.items] == [make_alarm(0).id]
    places = await acme.alarm_places([make_alarm(0).id, make_alarm(1).id])
    assert places == {make_alarm(0).id: ("gate", T0_US)}


async def test_recordings_lie_whole_in_their_window(acme: TenantExpiry) -> None:
    # The one of second 2 begins in time, that of second 5 ends at second 6: not before.
    found = await acme.recordings("gate", within(2, 6), 99)
    assert found == [
        OldRecording(T0_US + n * S, T0_US + (n + 1) * S, 100 + n, f"r/{n}.mp4") for n in (2, 3, 4)
    ]
    assert await acme.recordings("gate", within(2, 6), 99, after=found[0]) == found[1:]
    await acme.remove_recordings("gate", [old.start_us for old in found])
    left = await acme.recordings("gate", ALL, 99)
    assert [old.size - 100 for old in left] == [0, 1, 5, 6, 7, 8, 9]


async def test_recordings_near_an_alarm_are_told_apart(filled: Database) -> None:
    acme = filled.expiry("acme")
    # The alarms are in seconds 0 to 9; 300 s after one, or 60 s before one, is near.
    for n in (-62, -61, 309, 310):
        await filled.recordings("acme").add(make_segment(n))
    far = await acme.recordings("gate", ALL, 99, with_alarm=False)
    near = await acme.recordings("gate", ALL, 99, with_alarm=True)
    assert [old.size - 100 for old in far] == [-62, 310]
    assert [old.size - 100 for old in near] == [-61, *range(10), 309]


async def test_objects_lie_whole_in_their_window(filled: Database, acme: TenantExpiry) -> None:
    # Each is in sight for two seconds.
    found = await acme.objects("gate", within(2, 6), 99)
    assert found == [
        OldObject(T0_US + n * S, f"track-{n}", f"p/{n}.jpg" if n % 2 == 0 else None) for n in (2, 3)
    ]
    assert await acme.objects("gate", within(2, 6), 1, after=found[0]) == found[1:]
    await acme.forget_object_pictures("gate", ["track-2"])
    pictured = await acme.objects("gate", ALL, 99, pictured=True)
    assert [old.snapshot for old in pictured] == [f"p/{n}.jpg" for n in (0, 4, 6, 8)]
    assert await acme.known_pictures("gate", ["p/2.jpg", "p/4.jpg", "p/5.jpg"]) == {"p/4.jpg"}
    await acme.remove_objects("gate", [f"track-{n}" for n in range(1, 10)])
    page = await filled.tracks("acme").objects(ObjectQuery())
    assert [record.sighting.track for record in page.items] == ["track-0"]


async def test_paths_go_in_parts(filled: Database, acme: TenantExpiry) -> None:
    tracks = filled.tracks("acme")
    # Those that begin together go together.
    await tracks.record_paths([make_path(3, track=f"twin-{n}") for n in range(4)])
    counts = []
    while removed := await acme.remove_paths("gate", within(1, 9), 2):
        counts.append(removed)
    # Each takes a second: 1 and 2, then 3 with its twins, then by two; 8 ends at second 9.
    assert counts == [2, 5, 2, 2]
    left = await tracks.paths("gate", 0, 2**62)
    assert [path.track for path in left] == ["track-0", "track-8", "track-9"]


async def test_cameras_are_those_of_which_something_is_kept(
    filled: Database, acme: TenantExpiry
) -> None:
    await filled.recordings("acme").add(make_segment(0, "yard"))
    await filled.tenant("acme").remove_camera("gate")
    assert await acme.cameras(K.RECORDINGS) == ["gate", "yard"]
    assert await acme.cameras(K.ALARMS) == await acme.cameras(K.PATHS) == ["gate"]
    assert await acme.known_cameras() == []


# ------------------------------------------------------------ policy, holds, reports


async def test_a_policy_is_kept_as_it_was_set(database: Database, clock: ManualClock) -> None:
    retention = database.retention("acme")
    assert await retention.policy() is None
    for days in (1.5, None):
        clock.advance(1)
        policy = RetentionPolicy(days={K.PATHS: days}, cameras={"gate": {K.CLIPS: 3}})
        stored = await retention.set_policy(policy, "key:k1")
        assert await retention.policy() == stored
        assert (stored.policy, stored.changed_us) == (policy, clock.now_us())
    assert await database.retention("globex").policy() is None
    with pytest.raises(NotFoundError):
        await database.retention("nobody").set_policy(RetentionPolicy(), "key:k1")


async def test_a_hold_is_released_once(database: Database, clock: ManualClock) -> None:
    retention = database.retention("acme")
    alarm = UUID(int=7)
    first = await retention.add_hold(HeldSpan("gate", 1, 2), "case 1", "key:k1", alarm=alarm)
    clock.advance(1)
    second = await retention.add_hold(HeldSpan(None, 3, 3), "case 2", "key:k2")
    assert await retention.holds() == [second, first]
    # One on an alarm that is shorter than any rolls could be is one of earlier versions.
    widened = HeldSpan("gate", 1 - EVENT_BEFORE_US, 2 + EVENT_AFTER_US)
    assert await retention.held() == [HeldSpan(None, 3, 3), widened]
    clock.advance(1)
    released = await retention.release_hold(first.id, "key:k2")
    clock.advance(1)
    assert await retention.release_hold(first.id, "key:k3") == released
    assert (released.released_by, released.alarm) == ("key:k2", alarm)
    assert await retention.holds() == [second]
    assert await retention.holds(released=True) == [second, released]
    with pytest.raises(InputError, match="end before it begins"):
        await retention.add_hold(HeldSpan("gate", 2, 1), "case", "key:k1")


def make_run(number: int, removed: int = 0) -> RetentionRun:
    count = KindCount(kind=K.PATHS, cause=RemovalCause.AGE, removed=removed)
    return RetentionRun(
        started_us=number, ended_us=number + 1, complete=True, counts=(count,) if removed else ()
    )


async def test_reports_are_bounded_and_idle_ones_replace_each_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.stores.db.retention.MAX_RUNS", 8)
    retention = database.retention("acme")
    for number, removed in enumerate([1, 0, 0, 2, 0, 0]):
        await retention.add_run(make_run(number, removed))
    assert [run.started_us for run in await retention.runs()] == [5, 3, 2, 0]
    # The same run again, as after an answer that was lost.
    await retention.add_run(make_run(5, 3))
    assert [run.started_us for run in await retention.runs()] == [5, 3, 2, 0]
    for number in range(6, 14):
        await retention.add_run(make_run(number, 1))
    assert [run.started_us for run in await retention.runs(99)] == list(range(13, 5, -1))


async def test_without_a_tenant_there_is_no_report(database: Database) -> None:
    with pytest.raises(NotFoundError):
        await database.retention("nobody").add_run(make_run(1, 1))


async def test_what_is_used_is_kept(filled: Database) -> None:
    retention = filled.retention("acme")
    assert await retention.storage() is None
    # 100 to 109 bytes.
    assert await retention.recorded_bytes() == 1_045
    assert await filled.retention("nobody").recorded_bytes() == 0
    for use in (USE, USE.model_copy(update={"files": 9, "state": SpaceState.EXHAUSTED})):
        await retention.set_storage(use)
        assert await retention.storage() == use
    assert use.total == 10
    with pytest.raises(NotFoundError):
        await filled.retention("nobody").set_storage(USE)


# ------------------------------------------------------------ migration


async def test_pictures_of_older_alarms_are_found(empty_url: str) -> None:
    """Alarms that were recorded before there was a column for it."""
    await migrate(empty_url)
    async with Database(empty_url) as database:
        await database.platform().ensure_tenant("acme", "Acme")
        alarms = [make_alarm(0, snapshot="p/0.jpg"), make_alarm(1)]
        await database.tenant("acme").record_alarms(alarms)
    await downgrade(empty_url, "0003")
    engine = open_engine(empty_url)
    async with engine.connect() as connection:
        columns = (await connection.execute(text("SELECT * FROM alarms"))).keys()
    await engine.dispose()
    assert "snapshot" not in columns
    await migrate(empty_url)
    async with Database(empty_url) as database:
        found = await database.expiry("acme").alarms("gate", ALL, 9)
        assert [old.snapshot for old in found] == ["p/0.jpg", None]
        page = await database.tenant("acme").alarms(AlarmQuery())
        assert [record.alarm for record in page.items] == alarms[::-1]


# ------------------------------------------------------------ tenants

THEIR_HOLD = UUID(int=1)
USE = StorageUse(recordings=1, files=2, listed_us=3, measured_us=4)
RETENTION: dict[str, Callable[[TenantRetention], Awaitable[Any]]] = {
    "policy": lambda r: r.policy(),
    "set_policy": lambda r: r.set_policy(RetentionPolicy(), "key:mallory"),
    "add_hold": lambda r: r.add_hold(HeldSpan(None, 0, 1), "ours", "key:mallory"),
    "hold": lambda r: r.hold(THEIR_HOLD),
    "holds": lambda r: r.holds(released=True),
    "held": lambda r: r.held(),
    "release_hold": lambda r: r.release_hold(THEIR_HOLD, "key:mallory"),
    "add_run": lambda r: r.add_run(make_run(1, 1)),
    "runs": lambda r: r.runs(),
    "kept": lambda r: r.kept(K.RECORDINGS),
    "recorded_bytes": lambda r: r.recorded_bytes(),
    "storage": lambda r: r.storage(),
    "set_storage": lambda r: r.set_storage(USE),
}
IDS = [make_alarm(n, "globex").id for n in range(10)]
EXPIRY: dict[str, Callable[[TenantExpiry], Awaitable[Any]]] = {
    "cameras": lambda e: e.cameras(K.ALARMS),
    "known_cameras": lambda e: e.known_cameras(),
    "alarms": lambda e: e.alarms("gate", ALL, 99),
    "alarm_places": lambda e: e.alarm_places(IDS),
    "remove_alarms": lambda e: e.remove_alarms(IDS),
    "forget_alarm_pictures": lambda e: e.forget_alarm_pictures(IDS),
    "recordings": lambda e: e.recordings("gate", ALL, 99, with_alarm=True),
    "remove_recordings": lambda e: e.remove_recordings("gate", [T0_US]),
    "recording_files": lambda e: e.recording_files("gate", [T0_US]),
    "objects": lambda e: e.objects("gate", ALL, 99),
    "known_pictures": lambda e: e.known_pictures("gate", ["p/2.jpg"]),
    "remove_objects": lambda e: e.remove_objects("gate", ["track-1"]),
    "forget_object_pictures": lambda e: e.forget_object_pictures("gate", ["track-2"]),
    "remove_paths": lambda e: e.remove_paths("gate", ALL, 99),
    "analysed_cameras": lambda e: e.analysed_cameras(),
    "remove_analysed": lambda e: e.remove_analysed("gate", ALL, 99),
    "remove_coverage": lambda e: e.remove_coverage("gate", ALL, 99),
}
ATTEMPTS = [("retention", name) for name in RETENTION] + [("expiry", name) for name in EXPIRY]


def test_every_method_is_tried() -> None:
    for store, attempts in ((TenantRetention, RETENTION), (TenantExpiry, EXPIRY)):
        methods = {
            name
            for name, _ in inspect.getmembers(store, inspect.iscoroutinefunction)
            if not name.startswith("_")
        }
        assert methods == set(attempts)


async def _attempt(database: Database, store: str, method: str, tenant: str) -> Any:
    if store == "retention":
        return await RETENTION[method](database.retention(tenant))
    return await EXPIRY[method](database.expiry(tenant))


async def _rows(database: Database, tenant: str) -> list[Any]:
    """Every row of a tenant, past the sessions that filter by it."""
    found = []
    async with database._engine.connect() as connection:
        for mapper in sorted(Base.registry.mappers, key=lambda m: m.class_.__name__):
            if issubclass(mapper.class_, TenantOwned):
                table = mapper.local_table
                statement = table.select().where(table.c["tenant"] == tenant)
                found.append(sorted(map(repr, await connection.execute(statement))))
    return found


@pytest.mark.parametrize(("store", "method"), ATTEMPTS)
async def test_nothing_of_another_tenant_is_seen_or_changed(
    database: Database, store: str, method: str
) -> None:
    globex = database.retention("globex")
    await globex.set_policy(RetentionPolicy(days={K.PATHS: 1}), "key:globex")
    await globex.add_hold(HeldSpan("gate", 0, 1), "globex", "key:globex")
    await globex.add_run(make_run(1, 1).model_copy(update={"error": "globex"}))
    await globex.set_storage(USE)
    await database.tenant("globex").add_camera(make_camera("globex"))
    await database.tenant("globex").record_alarms(
        [make_alarm(n, "globex", snapshot=f"p/{n}.jpg") for n in range(3)]
    )
    await database.tracks("globex").record_objects([make_sighting(n, "globex") for n in range(3)])
    await database.tracks("globex").record_paths([make_path(1, "globex")])
    await database.recordings("globex").add(make_segment(0))
    await database.coverage("globex").add({"gate": [Stretch(T0_US, T0_US + S, Cover.ANALYSED)]})
    before = await _rows(database, "globex")
    try:
        result = await _attempt(database, store, method, "acme")
    except (NotFoundError, ConflictError):
        result = None
    assert "globex" not in repr(result)
    assert not result or method in ("set_policy", "add_hold", "kept")
    if method == "kept":
        assert (result.count, result.oldest_us) == (0, None)
    assert await _rows(database, "globex") == before


@pytest.mark.parametrize(("store", "method"), ATTEMPTS)
async def test_every_statement_carries_the_tenant(
    filled: Database, store: str, method: str
) -> None:
    """Seen at the wire: each statement on a tenant's table has the tenant among its values."""
    owned = {
        mapper.local_table.name  # type: ignore[attr-defined]
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, TenantOwned)
    }
    offences: list[str] = []
    seen: list[str] = []

    def watch(_c: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if any(table in statement for table in owned | {TenantRow.__tablename__}):
            seen.append(statement)
            values = parameters.values() if isinstance(parameters, dict) else parameters
            if "acme" not in list(values):
                offences.append(statement)

    event.listen(filled._engine.sync_engine, "before_cursor_execute", watch)
    try:
        await _attempt(filled, store, method, "acme")
    except NotFoundError:
        assert method in ("hold", "release_hold")
    assert seen
    assert offences == []
