"""Rows of a tenant go from one database into another, of the same kind or not."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import inspect

from cluster.core.roles import Role
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.db import Database
from cluster.stores.db.dump import table_of
from cluster.stores.db.encryption import RecordCipher
from cluster.stores.db.handover import LEFT, TABLES
from cluster.stores.db.models import AuditRow, Base, TenantRow
from pipelines.clock import ManualClock
from pipelines.errors import ConflictError
from pipelines.moving import MovePhase, TenantMovingError
from pipelines.retention import HeldSpan
from tests.factories import (
    CIPHER,
    make_alarm,
    make_analysed,
    make_camera,
    make_path,
    make_rule,
    make_sighting,
)

OTHER_KEY = RecordCipher(SecretStr("another-key-for-the-database-of-the-pod"))


@pytest.fixture
async def source(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Database]:
    """An SQLite file with the tenant acme."""
    path = tmp_path / "source.db"
    shutil.copyfile(sqlite_template, path)
    url = f"sqlite+aiosqlite:///{path}"
    async with Database(url, cipher=CIPHER, clock=ManualClock()) as found:
        platform, acme = found.platform(), found.tenant("acme")
        await platform.ensure_tenant("acme", "Acme")
        await acme.add_camera(make_camera(substream_url="rtsp://user:s3cr%40t@gate.example/2"))
        await acme.add_rule("gate", make_rule())
        await acme.record_alarms([make_alarm(n) for n in range(3)])
        tracks = found.tracks("acme")
        await tracks.record_objects([make_sighting(n) for n in range(3)])
        await tracks.record_paths([make_path(n) for n in range(3)])
        await tracks.record_analysed([make_analysed(0)])
        await found.retention("acme").add_hold(HeldSpan(None, 1, 2), "case 7", "key:k1")
        group = await found.groups("acme").add("doors", "Doors", ["gate"])
        await platform.create_key("acme", "door", Role.VIEWER, groups=[group.id])
        await platform.set_quotas("acme", {"cameras": 5})
        hashed = SecretStr("a hash")
        await found.users("acme").add("ana@example.org", "Ana", Role.ADMIN, hashed)
        events = [AuditEvent(at_us=n, actor="key:k1", action=AuditAction.SEARCH) for n in (1, 2)]
        await found.audit("acme").append(events)
        yield found


@pytest.fixture
async def pod(database_url: str) -> AsyncIterator[Database]:
    """A migrated database of each kind, in which somebody else lives."""
    async with Database(database_url, cipher=OTHER_KEY, clock=ManualClock()) as found:
        await found.platform().ensure_tenant("globex", "Globex")
        await found.platform().set_quotas("globex", {"cameras": 7})
        yield found


def test_every_table_of_a_tenant_goes_along_or_is_known_to_stay() -> None:
    of_tenants = {
        mapper.class_
        for mapper in Base.registry.mappers
        if "tenant" in inspect(mapper.class_).local_table.columns
    }
    assert of_tenants == {*TABLES, *LEFT, AuditRow}


async def arrive(source: Database, pod: Database, run: str = "r1") -> None:
    known = await source.moves().find("acme")
    assert known is not None
    await pod.moves(run).arrive(known[0], known[1], "shared")


async def copy(source: Database, pod: Database, run: str = "r1") -> None:
    mine, theirs = source.handover("acme", run), pod.handover("acme", run)
    await theirs.clear()
    for kind in mine.kinds:
        async for page in mine.pages(kind):
            await theirs.add(kind, page)
    async for entries in source.audit("acme").entries():
        await theirs.extend_audit(pod.audit("acme"), entries)


async def test_rows_arrive_as_they_are(source: Database, pod: Database) -> None:
    await arrive(source, pod)
    await copy(source, pod)
    await copy(source, pod)  # again without effect
    mine, theirs = source.handover("acme"), pod.handover("acme")
    counts = await mine.counts()
    assert counts == await theirs.counts()
    assert (counts["alarms"], counts["keys"], counts["audit"]) == (3, 1, 2)
    for kind in mine.kinds:
        assert await mine.sum(kind) == await theirs.sum(kind), kind
    assert (await source.audit("acme").head()) == (await pod.audit("acme").head())
    with pytest.raises(TenantMovingError):
        await pod.tenant("acme").record_alarms([make_alarm(9)])
    assert await pod.platform().plans() == []
    assert await pod.platform().at_home() == ["globex"]

    await pod.moves("r1").advance("acme", None)
    camera = await pod.tenant("acme").camera("gate")
    assert camera == await source.tenant("acme").camera("gate")
    assert await pod.platform().at_home() == ["acme", "globex"]
    assert await pod.platform().quotas("globex") == {"cameras": 7}
    assert await pod.tenant("acme").record_alarms([make_alarm(9)]) == 1


async def test_a_changed_row_changes_the_sum(source: Database) -> None:
    handover = source.handover("acme")
    before = await handover.sum("alarms")
    alarm = make_alarm(0)
    await source.tenant("acme").acknowledge(alarm.id, "user:u1", 1)
    after = await handover.sum("alarms")
    assert after.rows == before.rows
    assert after != before


async def test_only_the_latest_run_writes(source: Database, pod: Database) -> None:
    await arrive(source, pod)
    await arrive(source, pod, "r2")
    with pytest.raises(ConflictError, match="another command"):
        await copy(source, pod)
    with pytest.raises(ConflictError, match="another command"):
        await pod.moves("r1").advance("acme", None)
    await copy(source, pod, "r2")
    await pod.moves("r2").advance("acme", None)
    with pytest.raises(ConflictError, match="another command"):
        await pod.handover("acme", "r2").clear()
    with pytest.raises(ConflictError, match="there is a tenant acme"):
        await arrive(source, pod, "r3")


async def test_a_chain_of_another_time_is_refused(source: Database, pod: Database) -> None:
    event = AuditEvent(at_us=9, actor="key:k1", action=AuditAction.SEARCH)
    await pod.audit("acme").append([event])
    await arrive(source, pod)
    with pytest.raises(ConflictError, match="not the beginning of this one"):
        await copy(source, pod)


async def test_what_was_called_off_leaves_nothing(source: Database, pod: Database) -> None:
    await arrive(source, pod)
    await copy(source, pod)
    await pod.handover("acme", "r1").remove()
    assert await pod.moves().find("acme") is None
    assert await pod.handover("acme").counts() == {"audit": 2}


async def test_phases_at_the_source(source: Database) -> None:
    moves = source.moves("r1")
    begun = await moves.leave("acme", "acme_pod")
    assert (begun.phase, await source.moves().all()) == (MovePhase.DRAINING, {"acme": begun})
    # What is on its way still arrives, while nobody gets in and no camera runs.
    assert await source.tenant("acme").record_alarms([make_alarm(7)]) == 1
    assert await source.platform().at_home(draining=True) == ["acme"]
    assert await source.platform().plans() == []
    with pytest.raises(ConflictError, match="under way already"):
        await moves.leave("acme", "another")
    await moves.advance("acme", MovePhase.CLOSED)
    for write in (
        source.tenant("acme").record_alarms([make_alarm(8)]),
        source.users("acme").add("bo@example.org", "Bo", Role.VIEWER, SecretStr("a hash")),
        source.audit("acme").append([AuditEvent(at_us=3, action=AuditAction.SEARCH, actor="x")]),
    ):
        with pytest.raises(TenantMovingError):
            await write
    # The platform's own sessions are of no tenant, and refuse as well.
    platform = source.platform()
    (key,) = await source.keys("acme").keys()
    for change in (
        platform.create_key("acme", "late"),
        platform.revoke_key(key.id),
        platform.rotate_key(key.id, 0),
        platform.set_quotas("acme", {}),
    ):
        with pytest.raises(TenantMovingError):
            await change
    with pytest.raises(ConflictError, match="was not moved"):
        await source.erasure_work("acme").ask_after_move("acme_pod", "system:move")
    await moves.advance("acme", MovePhase.MOVED)
    asked = await source.erasure_work("acme").ask_after_move("acme_pod", "system:move")
    again = await source.erasure_work("acme").ask_after_move("acme_pod", "system:move")
    assert asked.id == again.id
    assert await source.retention("acme").holds() == []
    found = await source.platform().whereabouts("acme")
    assert found is not None
    assert (found.phase, found.pod) == (MovePhase.MOVED, "acme_pod")
    assert TenantRow.__tablename__ not in {table_of(row).name for row in TABLES}
