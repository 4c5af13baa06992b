"""One tenant against another that has the same names, through every method there is."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select, update

from cluster.stores.db import (
    AlarmQuery,
    CameraChanges,
    Database,
    RecordCounts,
    TenantRecords,
)
from cluster.stores.db.models import AlarmRow, Base, CameraRow, RuleRow, TenantOwned
from cluster.stores.db.sessions import Sessions
from pipelines.errors import InputError, NotFoundError
from tests.factories import make_alarm, make_camera, make_rule

THEIR_ALARM = make_alarm(1, tenant="globex")
MASK = ((0.0, 0.0), (0.2, 0.0), (0.2, 0.2))

# What acme tries with the names and ids of globex's things. A method without a row here fails
# `test_every_method_is_tried`.
ATTEMPTS: dict[str, Callable[[TenantRecords], Awaitable[Any]]] = {
    "cameras": lambda r: r.cameras(),
    "camera_ids": lambda r: r.camera_ids(),
    "masked_cameras": lambda r: r.masked_cameras(),
    "camera": lambda r: r.camera("vault"),
    "check_camera_known": lambda r: r.check_camera_known("vault"),
    "add_camera": lambda r: r.add_camera(make_camera("globex", "new")),
    "update_camera": lambda r: r.update_camera("vault", CameraChanges(name="Mine")),
    "remove_camera": lambda r: r.remove_camera("vault"),
    "rules": lambda r: r.rules("vault"),
    "add_rule": lambda r: r.add_rule("vault", make_rule("mine")),
    "remove_rule": lambda r: r.remove_rule("vault", "yard"),
    "counts": lambda r: r.counts(),
    "alarms": lambda r: r.alarms(AlarmQuery(camera="vault")),
    "alarm": lambda r: r.alarm(THEIR_ALARM.id),
    "acknowledge": lambda r: r.acknowledge(THEIR_ALARM.id, "mallory", 1),
    "alarms_between": lambda r: r.alarms_between("vault", 0, 2**60),
    "record_new_events": lambda r: r.record_new_events(
        [make_alarm(2, tenant="globex")], lambda _alarm, _earlier: None, 0
    ),
    "record_alarms": lambda r: r.record_alarms([make_alarm(2, tenant="globex")]),
}


@pytest.fixture
async def filled(database: Database) -> Database:
    globex = database.tenant("globex")
    for camera in ("vault", "gate"):
        await globex.add_camera(make_camera("globex", camera, masks=(MASK,)))
        await globex.add_rule(camera, make_rule())
    await globex.record_alarms([make_alarm(0, tenant="globex"), THEIR_ALARM])
    return database


async def _everything(database: Database) -> list[Any]:
    globex = database.tenant("globex")
    return [
        await globex.cameras(),
        [await globex.rules(camera) for camera in ("gate", "vault")],
        await globex.alarms(AlarmQuery()),
        await database.platform().plans(),
    ]


def test_every_method_is_tried() -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(TenantRecords, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert methods == set(ATTEMPTS)


@pytest.mark.parametrize("method", sorted(ATTEMPTS))
async def test_nothing_of_another_tenant_is_seen_or_changed(filled: Database, method: str) -> None:
    before = await _everything(filled)
    try:
        result = await ATTEMPTS[method](filled.tenant("acme"))
    except (NotFoundError, InputError):
        result = None
    assert "globex" not in repr(result)
    assert "vault" not in repr(result)
    assert await _everything(filled) == before


async def test_the_same_names_do_not_meet(filled: Database) -> None:
    acme, globex = filled.tenant("acme"), filled.tenant("globex")
    await acme.add_camera(make_camera(name="Ours"))
    await acme.add_rule("gate", make_rule(classes=("car",)))
    await acme.remove_rule("gate", "yard")
    await acme.update_camera("gate", CameraChanges(enabled=False))
    await acme.remove_camera("gate")
    assert [camera.id for camera in await globex.cameras()] == ["gate", "vault"]
    assert (await globex.camera("gate")).enabled
    assert await globex.rules("gate") == [make_rule()]


async def test_what_is_counted_is_ones_own(filled: Database) -> None:
    assert await filled.tenant("acme").counts() == RecordCounts(
        cameras=0, rules=0, most_rules=0, detect_fps=0.0
    )
    assert (await filled.tenant("globex").counts()).cameras == 2


async def test_a_session_adds_the_tenant_to_whatever_is_written(filled: Database) -> None:
    """Statements that forget the tenant, as a careless change of the repository would."""
    sessions = Sessions(filled._engine, "acme")
    async with sessions.write() as session:
        for table in (CameraRow, RuleRow, AlarmRow):
            assert (await session.scalars(select(table))).all() == []
            assert await session.scalar(select(func.count()).select_from(table)) == 0
        join = select(CameraRow).join(RuleRow, RuleRow.camera == CameraRow.id)
        assert (await session.scalars(join)).all() == []
        assert await session.get(CameraRow, ("globex", "vault")) is None
        changed = await session.execute(update(CameraRow).values(name="Mine"))
        assert changed.rowcount == 0
    with pytest.raises(AssertionError, match="another tenant"):
        async with sessions.write() as session:
            session.add(AlarmRow(tenant="globex", id=make_alarm(9).id))


@pytest.mark.parametrize("method", sorted(ATTEMPTS))
async def test_every_statement_carries_the_tenant(filled: Database, method: str) -> None:
    """Seen at the wire: each statement on a tenant's table has the tenant among its values."""
    owned = {
        mapper.local_table.name  # type: ignore[attr-defined]
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, TenantOwned)
    }
    offences: list[str] = []
    seen: list[str] = []

    def watch(_c: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if any(table in statement for table in owned):
            seen.append(statement)
            values = parameters.values() if isinstance(parameters, dict) else parameters
            if "acme" not in list(values):
                offences.append(statement)

    acme = filled.tenant("acme")
    await acme.add_camera(make_camera("acme", "vault"))
    await acme.add_rule("vault", make_rule())
    await acme.record_alarms([make_alarm(1)])
    ours = {
        # Only its alarms are kept: it is looked for in one table after the other.
        "check_camera_known": lambda r: r.check_camera_known("gate"),
        "add_camera": lambda r: r.add_camera(make_camera("acme", "new")),
        "alarm": lambda r: r.alarm(make_alarm(1).id),
        "acknowledge": lambda r: r.acknowledge(make_alarm(1).id, "ana", 1),
        "record_new_events": lambda r: r.record_new_events(
            [make_alarm(2)], lambda _alarm, _earlier: None, 0
        ),
        "record_alarms": lambda r: r.record_alarms([make_alarm(2)]),
    }
    event.listen(filled._engine.sync_engine, "before_cursor_execute", watch)
    await {**ATTEMPTS, **ours}[method](acme)
    assert seen
    assert offences == []
