"""The audit log in SQL: one chain per tenant and one for the platform, to which rows are added."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, Select, Text, cast, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.core.backoff import Backoff
from cluster.stores.audit.chain import EMPTY, AuditEntry, Head, chained
from cluster.stores.audit.events import AuditEvent, AuditQuery
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
    UnavailableError."""

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
        """Entries, newest first. Raises InputError: the cursor is broken."""
        statement = _filtered(_entries(), query).order_by(AuditRow.sequence.desc())
        async with self._sessions.read() as session:
            rows = (await session.execute(statement.limit(query.limit + 1))).all()
        entries = [_entry_of(row) for row in rows]
        items, following = AUDIT_CURSOR.page(entries, query.limit, lambda last: last.sequence)
        return AuditPage(items, following)

    async def entries(self) -> AsyncIterator[list[AuditEntry]]:
        """The whole chain in order, in pages of `READ_PAGE`."""
        statement = _entries().order_by(AuditRow.sequence).limit(READ_PAGE)
        after: int | None = None
        while True:
            following = statement if after is None else statement.where(AuditRow.sequence > after)
            async with self._sessions.read() as session:
                rows = (await session.execute(following)).all()
            if not rows:
                return
            yield [_entry_of(row) for row in rows]
            after = rows[-1].sequence


class AuditHeads:
    """Where all chains end. Made by `Database.audit_heads`; for the platform's own processes."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def __call__(self) -> dict[str, Head]:
        """The last entry of each chain, by chain. Raises UnavailableError."""
        last = (
            select(AuditRow.tenant, func.max(AuditRow.sequence).label("sequence"))
            .group_by(AuditRow.tenant)
            .subquery()
        )
        statement = select(AuditRow.tenant, AuditRow.sequence, AuditRow.hash).join(
            last, (AuditRow.tenant == last.c.tenant) & (AuditRow.sequence == last.c.sequence)
        )
        async with self._sessions.read() as session:
            rows = await session.execute(statement)
            return {row.tenant: Head(row.sequence, row.hash) for row in rows}


async def _head(session: AsyncSession) -> Head:
    statement = select(AuditRow.sequence, AuditRow.hash)
    row = (await session.execute(statement.order_by(AuditRow.sequence.desc()).limit(1))).first()
    return Head(row.sequence, row.hash) if row else EMPTY


def _entries() -> Select[Any]:
    return select(*_COLUMNS)


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


def _entry_of(row: Row[Any]) -> AuditEntry:
    fields = dict(row._mapping)
    try:
        fields["details"] = json.loads(fields["details"])
    except (TypeError, ValueError):
        pass  # left as it is: its hash will not match
    return AuditEntry(**fields)
