"""The audit log in SQL: it only grows, several writers keep one chain, and tenants are apart."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from cluster.stores.audit.chain import EMPTY, AuditEntry, Fault, Head, chained
from cluster.stores.audit.events import AuditAction, AuditOutcome, AuditQuery
from cluster.stores.db import AuditLog, Database
from cluster.stores.db.models import AuditRow
from pipelines.errors import ConflictError, InputError
from tests.factories import T0_US
from tests.unit.cluster.stores.audit.chains import first_fault, make_chain, make_event


async def _all(log: AuditLog) -> list[AuditEntry]:
    return [entry async for page in log.entries() for entry in page]


@pytest.fixture
def acme(database: Database) -> AuditLog:
    return database.audit("acme")


async def test_what_is_written_is_read_back_and_is_whole(acme: AuditLog) -> None:
    events = [
        make_event(0, object_id="pátio 🚗 '\"\\", details={"b": [1, "ü"], "a": {"x": None}}),
        make_event(1, address=None, outcome=AuditOutcome.REFUSED, reason="404 Not Found"),
        make_event(2, details={"big": 2**53 + 1, "yes": True, "no": None, "é": "\u2028"}),
    ]
    await acme.append(events[:1])
    await acme.append([])
    await acme.append(events[1:])
    entries = await _all(acme)
    assert entries == chained("acme", EMPTY, events)
    assert first_fault("acme", entries) is None
    assert await acme.head() == Head(3, entries[-1].hash)
    assert await acme.count() == 3


async def test_a_long_chain_is_read_in_pages(acme: AuditLog) -> None:
    await acme.append([make_event(n) for n in range(1_203)])
    sizes = [len(page) async for page in acme.entries()]
    assert sizes == [500, 500, 203]
    assert await _all(acme) == make_chain(1_203)


# ------------------------------------------------------------ append-only

CHANGES = [
    "UPDATE audit SET actor = 'key:mallory0' WHERE sequence = 2",
    "UPDATE audit SET sequence = 9 WHERE sequence = 2",
    "DELETE FROM audit WHERE sequence = 3",
    "DELETE FROM audit",
    "INSERT INTO audit SELECT * FROM audit WHERE sequence = 1 AND true "
    "ON CONFLICT (tenant, sequence) DO UPDATE SET actor = 'key:mallory0'",
]
OF_SQLITE = [
    "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE sequence = 1",
    "REPLACE INTO audit SELECT * FROM audit WHERE sequence = 1",
    "UPDATE OR REPLACE audit SET sequence = 1 WHERE sequence = 2",
]
OF_POSTGRESQL = ["TRUNCATE audit", "TRUNCATE audit CASCADE"]


async def test_the_applications_connection_can_change_nothing(
    database: Database, acme: AuditLog
) -> None:
    await acme.append([make_event(n) for n in range(3)])
    sqlite = database._engine.dialect.name == "sqlite"
    for statement in [*CHANGES, *(OF_SQLITE if sqlite else OF_POSTGRESQL)]:
        with pytest.raises(IntegrityError, match="append-only"):
            async with database._engine.begin() as connection:
                await connection.execute(text(statement))
        assert await _all(acme) == make_chain(3), statement


async def test_the_log_of_a_tenant_outlives_it(database: Database) -> None:
    """No code deletes a tenant today; whoever does it in SQL leaves the log as it is."""
    await database.platform().ensure_tenant("leaving", "Leaving")
    await database.audit("leaving").append([make_event(0)])
    async with database._engine.begin() as connection:
        await connection.execute(text("DELETE FROM tenants WHERE slug = 'leaving'"))
    assert await _all(database.audit("leaving")) == make_chain(1, "leaving")


# ------------------------------------------------------------ several writers


async def test_two_processes_keep_one_chain(database: Database, database_url: str) -> None:
    async def write(source: Database, first: int) -> None:
        for n in range(first, first + 25):
            await source.audit("acme").append([make_event(n), make_event(n + 1_000)])

    async with Database(database_url) as second, Database(database_url) as third:
        await asyncio.gather(write(database, 0), write(second, 100), write(third, 200))
    entries = await _all(database.audit("acme"))
    assert first_fault("acme", entries) is None
    assert len(entries) == 150
    numbers = [int(entry.object_id.partition("-")[2]) for entry in entries]
    # Batches are not torn, and each writer's order is kept.
    assert [b - a for a, b in zip(numbers[::2], numbers[1::2], strict=True)] == [1_000] * 75
    for first in (0, 100, 200):
        assert [n for n in numbers if first <= n < first + 25] == list(range(first, first + 25))


async def test_who_is_beaten_every_time_says_so(
    acme: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.append([make_event(0)])

    async def old_head(_: object) -> Head:
        return EMPTY

    monkeypatch.setattr("cluster.stores.db.audit._head", old_head)
    monkeypatch.setattr("cluster.stores.db.audit.MAX_ATTEMPTS", 3)
    with pytest.raises(ConflictError):
        await acme.append([make_event(1)])


# ------------------------------------------------------------ pages


async def test_pages_are_newest_first_and_filtered(acme: AuditLog) -> None:
    for n in range(10):
        fields: dict[str, Any] = {"actor": "key:bbbbbbbb"} if n % 2 else {}
        if n == 4:
            fields["action"] = AuditAction.LIVE_JOIN
        await acme.append([make_event(n, **fields)])

    async def numbers(**query: Any) -> list[int]:
        return [entry.sequence for entry in (await acme.page(AuditQuery(**query))).items]

    assert await numbers() == list(range(10, 0, -1))
    assert await numbers(actor="key:bbbbbbbb") == [10, 8, 6, 4, 2]
    assert await numbers(action=AuditAction.LIVE_JOIN) == [5]
    second = 1_000_000
    assert await numbers(since_us=T0_US + 2 * second, until_us=T0_US + 5 * second) == [5, 4, 3]
    seen: list[int] = []
    cursor = None
    while True:
        page = await acme.page(AuditQuery(limit=3, cursor=cursor))
        seen += [entry.sequence for entry in page.items]
        # What is added meanwhile does not shift a page.
        await acme.append([make_event(99)])
        if (cursor := page.next_cursor) is None:
            break
    assert seen == list(range(10, 0, -1))
    for broken in ("x", "-1", "+1", "01", "1.0", "9" * 30):
        with pytest.raises(InputError, match="cursor"):
            await acme.page(AuditQuery(cursor=broken))


async def test_where_the_chains_end(database: Database) -> None:
    assert await database.audit_heads()() == {}
    await database.audit("acme").append([make_event(n) for n in range(3)])
    await database.platform_audit().append([make_event(0)])
    assert await database.audit_heads()() == {
        "": Head(1, make_chain(1, "")[0].hash),
        "acme": Head(3, make_chain(3)[2].hash),
    }


async def test_names_that_no_chain_has_are_no_chains(database: Database, acme: AuditLog) -> None:
    await acme.append([make_event(n) for n in range(5)])
    await database.platform_audit().append([make_event(0)])
    sqlite = database._engine.dialect.name == "sqlite"
    names = {"ACME": "'ACME'", " acme": "' acme'", "-": "'-'"}
    blobs: dict[object, str] = {b"acme": "x'61636d65'", "\udcff": "CAST(x'ff' AS TEXT)"}
    async with database._engine.begin() as connection:
        for name in [*names.values(), *(blobs.values() if sqlite else ())]:
            columns = ", ".join(column.name for column in AuditRow.__table__.columns)
            values = columns.replace("tenant", name, 1)
            await connection.execute(
                text(
                    f"INSERT INTO audit ({columns}) SELECT {values} FROM audit "
                    "WHERE tenant = 'acme' AND sequence > 3"
                )
            )
    heads = database.audit_heads()
    assert await heads() == {
        "": Head(1, make_chain(1, "")[0].hash),
        "acme": Head(5, make_chain(5)[4].hash),
    }
    wanted = dict.fromkeys([*names, *(blobs if sqlite else ())], 2)
    assert await heads.strangers() == wanted
    assert await _all(acme) == make_chain(5)


# ------------------------------------------------------------ isolation

ATTEMPTS: dict[str, Callable[[AuditLog], Awaitable[Any]]] = {
    "append": lambda log: log.append([make_event(7, object_id="mine")]),
    "head": lambda log: log.head(),
    "count": lambda log: log.count(),
    "page": lambda log: log.page(AuditQuery()),
    "entries": lambda log: _all(log),
}


def test_every_method_is_tried() -> None:
    methods = {
        name
        for name, member in inspect.getmembers(AuditLog, inspect.isfunction)
        if not name.startswith("_") and member.__qualname__.startswith("AuditLog.")
    }
    assert methods == set(ATTEMPTS)


@pytest.mark.parametrize("method", sorted(ATTEMPTS))
@pytest.mark.parametrize("asking", ["acme", ""])
async def test_nothing_of_another_chain_is_seen_or_changed(
    database: Database, method: str, asking: str
) -> None:
    theirs = database.audit("globex")
    await theirs.append([make_event(n, object_id="globex-vault") for n in range(3)])
    before = await _all(theirs)
    statements: list[tuple[str, Any]] = []

    def watch(_c: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "audit" in statement:
            statements.append((statement, parameters))

    event.listen(database._engine.sync_engine, "before_cursor_execute", watch)
    result = await ATTEMPTS[method](database.audit_chain(asking))
    event.remove(database._engine.sync_engine, "before_cursor_execute", watch)
    assert "globex" not in repr(result)
    assert result in (None, EMPTY, 0, []) or result.items == []
    assert await _all(theirs) == before
    assert statements
    for statement, parameters in statements:
        values = parameters.values() if isinstance(parameters, dict) else parameters
        assert asking in list(values), statement


# ------------------------------------------------------------ what a check sees


@pytest.mark.parametrize(
    ("change", "fault", "sequence"),
    [
        ("UPDATE audit SET reason = 'x' WHERE sequence = 4", Fault.CHANGED, 4),
        ("UPDATE audit SET details = '{\"x\": 1}' WHERE sequence = 1", Fault.CHANGED, 1),
        ("DELETE FROM audit WHERE sequence = 2", Fault.MISSING, 2),
        ("DELETE FROM audit WHERE sequence > 4", None, 0),
        ("UPDATE audit SET sequence = 100 WHERE sequence = 5", Fault.MISSING, 5),
        ("UPDATE audit SET sequence = -sequence WHERE sequence = 1", Fault.REORDERED, 1),
    ],
)
async def test_what_somebody_changed_without_the_triggers_is_found(
    database: Database, acme: AuditLog, change: str, fault: Fault | None, sequence: int
) -> None:
    await acme.append([make_event(n) for n in range(6)])
    async with database._engine.begin() as connection:
        for trigger in await _triggers(connection):
            await connection.execute(text(trigger))
        await connection.execute(text(change))
    entries = await _all(acme)
    found = first_fault("acme", entries)
    assert (found and found.fault, found.sequence if found else 0) == (fault, sequence)
    anchored = first_fault("acme", entries, {6: make_chain(6)[5].hash})
    assert anchored is not None


NUMBERS = ["'zzz'", "x'ff'", "2.5", "0", "-1", "9223372036854775807"]
"""Of which PostgreSQL takes the whole ones."""


async def test_rows_with_a_number_that_is_none_stop_neither_pages_nor_writing(
    database: Database, acme: AuditLog
) -> None:
    await acme.append([make_event(n) for n in range(10)])
    sqlite = database._engine.dialect.name == "sqlite"
    async with database._engine.begin() as connection:
        for trigger in await _triggers(connection):
            await connection.execute(text(trigger))
        for row, number in enumerate(NUMBERS[0 if sqlite else 3 :], 4):
            await connection.execute(
                text(f"UPDATE audit SET sequence = {number} WHERE sequence = {row}")
            )
    seen: list[int] = []
    cursor = None
    while True:
        page = await acme.page(AuditQuery(limit=1, cursor=cursor))
        seen += [entry.sequence for entry in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [n for n in range(10, 0, -1) if n < 4 or n >= (10 if sqlite else 7)]
    await acme.append([make_event(10)])
    assert (await acme.head()).sequence == 11
    assert first_fault("acme", await _all(acme)) is not None


async def test_texts_that_are_no_utf8_stop_neither_pages_nor_others(
    database: Database, acme: AuditLog
) -> None:
    if database._engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL refuses them")
    await acme.append([make_event(n) for n in range(3)])
    async with database._engine.begin() as connection:
        for trigger in await _triggers(connection):
            await connection.execute(text(trigger))
        await connection.execute(
            text("UPDATE audit SET actor = CAST(x'6bff' AS TEXT) WHERE sequence = 2")
        )
    page = await acme.page(AuditQuery())
    assert [entry.actor for entry in page.items] == ["key:aaaaaaaa", "k\udcff", "key:aaaaaaaa"]
    # The connection is as it was: elsewhere such a text is an error.
    with pytest.raises(OperationalError, match="UTF-8"):
        async with database._engine.begin() as connection:
            await connection.execute(text("SELECT actor FROM audit"))


async def _triggers(connection: Any) -> list[str]:
    """Statements that switch the triggers off, as an administrator can."""
    if connection.dialect.name == "postgresql":
        return ["ALTER TABLE audit DISABLE TRIGGER USER"]
    names = await connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
    return [f"DROP TRIGGER {name}" for name in names]
