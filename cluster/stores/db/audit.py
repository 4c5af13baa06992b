"""The audit log in SQL: one chain per tenant and one for the platform, to which rows are added."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Row, Select, Text, cast, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.core.backoff import Backoff
from cluster.core.tenancy import is_tenant
from cluster.stores.audit.chain import EMPTY, AuditEntry, Head, chained
from cluster.stores.audit.events import PLATFORM_CHAIN, AuditEvent, AuditQuery
from cluster.stores.db.cursor import AUDIT_CURSOR
from cluster.stores.db.models import AuditRow
from cluster.stores.db.sessions import Sessions
from pipelines.errors import ConflictError

# Writers of one chain that meet: each attempt lets one of them through, so this many replicas of
# the API may write to one chain at the same instant. Each pause is shorter than a transaction.
MAX_ATTEMPTS = 32
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.1

# Entries in memory while a chain is read from its beginning.
READ_PAGE = 500

# Numbers that our cursors can name.
MAX_SEQUENCE = 10**18 - 1

# As text, because a check must not stop at what somebody wrote there that is no JSON.
_DETAILS = cast(AuditRow.details, Text).label("details")
_COLUMNS = tuple(
    _DETAILS if column.name == "details" else column for column in AuditRow.__table__.columns
)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; `next_cursor` is None on the last page."""

    items: list[AuditEntry]
    next_cursor: str | None


class AuditLog:
    """One chain. Made by `Database.audit` and `Database.platform_audit`. Every method may raise
    UnavailableError.

    Whoever reads entries gets what is stored, even where its types are none of ours.
    """

    def __init__(self, sessions: Sessions, chain: str) -> None:
        self._sessions = sessions
        self.chain = chain

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Add events to the end of the chain, all or none.

        Other processes may do the same: who comes second finds the number taken, and tries again
        behind the new end.

        Raises:
            ConflictError: others were faster every time.
        """
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with self._sessions.write() as session:
                    entries = chained(self.chain, await _head(session), events)
                    if entries:
                        await session.execute(insert(AuditRow), [asdict(e) for e in entries])
                return
            except ConflictError:
                if attempt == MAX_ATTEMPTS:
                    raise
            await asyncio.sleep(backoff.next_delay_s())

    async def head(self) -> Head:
        """The last entry; `EMPTY` where there is none."""
        async with self._sessions.read() as session:
            return await _head(session)

    async def count(self) -> int:
        """How many rows there are."""
        async with self._sessions.read() as session:
            return await session.scalar(select(func.count()).select_from(AuditRow)) or 0

    async def page(self, query: AuditQuery) -> AuditPage:
        """Entries, newest first. Rows with a number that is none are left out: there is no place
        for them, and a check of the chain finds them. Raises InputError: the cursor is broken."""
        statement = _filtered(_entries().where(*_numbered()), query)
        statement = statement.order_by(AuditRow.sequence.desc())
        entries = await self._read(statement.limit(query.limit + 1))
        items, following = AUDIT_CURSOR.page(entries, query.limit, lambda last: last.sequence)
        return AuditPage(items, following)

    async def entries(self) -> AsyncIterator[list[AuditEntry]]:
        """The whole chain in order, in pages of `READ_PAGE`."""
        statement = _entries().order_by(AuditRow.sequence).limit(READ_PAGE)
        after: int | None = None
        while True:
            following = statement if after is None else statement.where(AuditRow.sequence > after)
            entries = await self._read(following)
            if not entries:
                return
            yield entries
            after = entries[-1].sequence

    async def _read(self, statement: Select[Any]) -> list[AuditEntry]:
        async with self._sessions.read_as_stored() as session:
            rows = (await session.execute(statement)).all()
            # PostgreSQL parses JSON and writes its own spelling.
            verbatim = session.get_bind().dialect.name == "sqlite"
        return [_entry_of(row, verbatim) for row in rows]


class AuditHeads:
    """Where all chains end. Made by `Database.audit_heads`; for the platform's own processes."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def __call__(self) -> dict[str, Head]:
        """The last entry of each chain, by chain; its values are not validated. Raises
        UnavailableError."""
        last = (
            select(AuditRow.tenant, func.max(AuditRow.sequence).label("sequence"))
            .group_by(AuditRow.tenant)
            .subquery()
        )
        statement = select(AuditRow.tenant, AuditRow.sequence, AuditRow.hash).join(
            last, (AuditRow.tenant == last.c.tenant) & (AuditRow.sequence == last.c.sequence)
        )
        async with self._sessions.read_as_stored() as session:
            rows = await session.execute(statement)
            return {
                row.tenant: Head(row.sequence, row.hash) for row in rows if is_chain(row.tenant)
            }

    async def strangers(self) -> dict[object, int]:
        """How many rows stand under each name that no chain can have, and that no tenant's session
        sees. Somebody wrote them past the application. Raises UnavailableError."""
        statement = select(AuditRow.tenant, func.count().label("rows")).group_by(AuditRow.tenant)
        async with self._sessions.read_as_stored() as session:
            rows = await session.execute(statement)
            return {row.tenant: row.rows for row in rows if not is_chain(row.tenant)}


def is_chain(name: object) -> bool:
    """Whether a value of the column `tenant` names a chain: a tenant's, or the platform's."""
    return isinstance(name, str) and (name == PLATFORM_CHAIN or is_tenant(name))


async def _head(session: AsyncSession) -> Head:
    # A row whose number is none must not end the chain for good; a check finds it.
    statement = select(AuditRow.sequence, AuditRow.hash).where(*_numbered())
    row = (await session.execute(statement.order_by(AuditRow.sequence.desc()).limit(1))).first()
    return Head(row.sequence, row.hash) if row else EMPTY


def _entries() -> Select[Any]:
    return select(*_COLUMNS)


def _numbered() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Conditions that leave out rows whose number SQLite keeps as a text, as bytes or as a
    fraction, or that lies where no chain gets."""
    whole = cast(AuditRow.sequence, BigInteger) == AuditRow.sequence
    return whole, AuditRow.sequence.between(1, MAX_SEQUENCE)


def _filtered(statement: Select[Any], query: AuditQuery) -> Select[Any]:
    if query.actor is not None:
        statement = statement.where(AuditRow.actor == query.actor)
    if query.action is not None:
        statement = statement.where(AuditRow.action == query.action.value)
    if query.since_us is not None:
        statement = statement.where(AuditRow.at_us >= query.since_us)
    if query.until_us is not None:
        statement = statement.where(AuditRow.at_us < query.until_us)
    if query.cursor is not None:
        statement = statement.where(AuditRow.sequence < AUDIT_CURSOR.decode(query.cursor))
    return statement


def _entry_of(row: Row[Any], verbatim: bool) -> AuditEntry:
    """An entry as it is stored. `details` that we cannot have written stay a text, so that the
    entry's hash does not match.

    Args:
        verbatim: the database keeps JSON as it was written.
    """
    fields = dict(row._mapping)
    stored = fields["details"]
    # RecursionError: nested too deeply.
    with suppress(TypeError, ValueError, RecursionError):
        details = json.loads(stored, object_pairs_hook=_unique)
        if not verbatim or json.dumps(details) == stored:
            fields["details"] = details
    return AuditEntry(**fields)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError: a name occurs twice, so that it depends on the reader what it means."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found
