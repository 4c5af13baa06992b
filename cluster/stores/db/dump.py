"""All rows of one tenant, to be handed over: as plain values, without secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    Text,
    cast,
    inspect,
    literal,
    select,
    tuple_,
)

from cluster.stores.db.models import (
    AlarmRow,
    AnalysedRow,
    AnonymisationRow,
    AuditRow,
    Base,
    CameraRow,
    CoverageRow,
    ErasureRow,
    GroupCameraRow,
    GroupRow,
    HoldRow,
    JobRow,
    KeyRow,
    ObjectRow,
    PathRow,
    PolicyRow,
    QuotaRow,
    RecordingRow,
    RetentionRunRow,
    RevealRow,
    RuleRow,
    UserRow,
)
from cluster.stores.db.sessions import Sessions

# Paths are the largest rows, at most some 60 kB each.
PAGE = 500

TABLES: tuple[type[Base], ...] = (
    CameraRow, RuleRow, AlarmRow, RecordingRow, ObjectRow, PathRow, JobRow, HoldRow, PolicyRow,
    RetentionRunRow, QuotaRow, UserRow, KeyRow, GroupRow, GroupCameraRow, AnonymisationRow,
    RevealRow, AnalysedRow, CoverageRow, ErasureRow, AuditRow,
)  # fmt: skip
"""Not among them: sessions, how much is stored, and what an erasure keeps to do its work."""

HIDDEN: Mapping[type[Base], frozenset[str]] = {
    CameraRow: frozenset({"url", "substream_url"}),
    UserRow: frozenset({"password"}),
    KeyRow: frozenset({"digest"}),
}
"""Secrets, encrypted or hashed."""


class TenantDump:
    """Made by `Database.dump`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str) -> None:
        self._sessions = sessions
        self.tenant = tenant
        self._tables = {table_of(row).name: row for row in TABLES}

    @property
    def kinds(self) -> tuple[str, ...]:
        """What there are rows of."""
        return tuple(self._tables)

    async def rows(self, kind: str) -> AsyncIterator[list[dict[str, Any]]]:
        """The rows of a kind in the order of their key, page by page, each in a transaction of its
        own. Values are those of JSON."""
        row = self._tables[kind]
        key = [column for column in table_of(row).primary_key if column.name != "tenant"]
        after: tuple[Any, ...] | None = None
        while True:
            async with self._sessions.read_as_stored() as session:
                found = (await session.execute(self._page(row, key, after))).mappings().all()
            if found:
                yield [{name: _plain(value) for name, value in one.items()} for one in found]
            if len(found) < PAGE or not key:
                return
            after = tuple(found[-1][column.name] for column in key)

    def _page(self, row: type[Base], key: list[Any], after: tuple[Any, ...] | None) -> Select[Any]:
        table = table_of(row)
        hidden = HIDDEN.get(row, frozenset())
        shown = [_shown(row, column) for column in table.columns if column.name not in hidden]
        statement = select(*shown).where(table.c.tenant == self.tenant).order_by(*key).limit(PAGE)
        return statement if after is None else statement.where(_behind(key, after))


def _shown(row: type[Base], column: Column[Any]) -> ColumnElement[Any]:
    """Details of the audit log as they are stored: a row that somebody changed need be no JSON."""
    if row is AuditRow and column.name == "details":
        return cast(column, Text).label("details")
    return column


def _behind(key: list[Any], after: tuple[Any, ...]) -> ColumnElement[bool]:
    last = [literal(value, column.type) for value, column in zip(after, key, strict=True)]
    return tuple_(*key) > tuple_(*last)


def table_of(row: type[Base]) -> Table:
    table = inspect(row).local_table
    assert isinstance(table, Table)
    return table


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value
