"""All rows of one tenant, secrets too, from one database into another: for the command that moves
the tenant. What is read here is never written to a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import delete, func, insert, literal, select, tuple_

from cluster.stores.audit.chain import AuditEntry, Head
from cluster.stores.db.audit import AuditLog
from cluster.stores.db.convert import CAMERA_SECRETS
from cluster.stores.db.dump import TABLES as DUMPED
from cluster.stores.db.dump import table_of
from cluster.stores.db.encryption import RecordCipher, SecretPlace
from cluster.stores.db.models import (
    AuditRow,
    Base,
    CameraRow,
    ErasedRow,
    ErasureItemRow,
    ErasureRow,
    JobRow,
    QuotaRow,
    SessionRow,
    StorageUseRow,
    TenantRow,
)
from cluster.stores.db.moves import require_arriving
from cluster.stores.db.sessions import Sessions
from pipelines.domain import Frozen, JobState
from pipelines.erasure import ErasureState, ItemState
from pipelines.errors import ConflictError

# Paths are the largest rows, at most some 60 kB each.
PAGE = 500

TABLES: tuple[type[Base], ...] = (*(row for row in DUMPED if row is not AuditRow), ErasedRow)
"""What goes along; the audit log does, too, entry by entry (`Handover.extend_audit`)."""
LEFT: tuple[type[Base], ...] = (SessionRow, StorageUseRow, ErasureItemRow)
"""What does not: everybody signs in anew, what is stored is measured anew, and no erasure may be
under way."""

Row = dict[str, Any]


class Sum(Frozen):
    """What a table holds: rows, and the sum of their digests, whatever their order."""

    rows: int = 0
    digest: int = 0

    def plus(self, page: Sequence[Row]) -> Sum:
        digest = sum(map(_digest, page), self.digest)
        return Sum(rows=self.rows + len(page), digest=digest % (1 << 256))


class Handover:
    """Made by `Database.handover`. Every method may raise UnavailableError.

    Args:
        platform: sessions that see all tenants: the quotas of a tenant are the platform's to write.
        run: of the move; only it may write.
    """

    def __init__(
        self,
        sessions: Sessions,
        platform: Sessions,
        tenant: str,
        cipher: RecordCipher,
        run: str,
    ) -> None:
        self._sessions = sessions
        self._platform = platform
        self._cipher = cipher
        self._run = run
        self.tenant = tenant
        self.kinds = {table_of(row).name: row for row in TABLES}
        """In an order in which foreign keys permit to write."""

    # ------------------------------------------------------------ reading

    async def unfinished(self) -> list[str]:
        """What has to end before the tenant can go, for people."""
        ended = [state.value for state in JobState if state.ended]
        late = select(func.count()).where(ErasureItemRow.state == ItemState.FOUND.value)
        open_ones = select(func.count()).where(ErasureRow.state != ErasureState.DONE.value)
        running = select(func.count()).where(JobRow.state.not_in(ended))
        found = []
        async with self._sessions.read() as session:
            for name, statement in (
                ("jobs", running),
                ("erasures", open_ones),
                ("erased objects that are seen again", late),
            ):
                if count := await session.scalar(statement):
                    found.append(f"{count} {name}")
        return found

    async def counts(self) -> dict[str, int]:
        """Rows by kind, without those of which there are none."""
        found = {}
        async with self._sessions.read() as session:
            for table in [*map(table_of, TABLES), table_of(AuditRow)]:
                statement = select(func.count()).select_from(table)
                own = statement.where(table.c.tenant == self.tenant)
                if count := await session.scalar(own):
                    found[table.name] = count
        return found

    async def pages(self, kind: str) -> AsyncIterator[list[Row]]:
        """The rows of a kind, page by page, secrets decrypted.

        Raises:
            SecretUnreadableError: one does not decrypt.
        """
        row = self.kinds[kind]
        table = table_of(row)
        key = [column for column in table.primary_key if column.name != "tenant"]
        own = select(table).where(table.c.tenant == self.tenant).order_by(*key).limit(PAGE)
        statement = own
        while True:
            async with self._sessions.read() as session:
                rows = (await session.execute(statement)).mappings().all()
            page = [dict(found) for found in rows]
            if page:
                yield [self._decrypted(found) for found in page] if row is CameraRow else page
            if len(page) < PAGE or not key:
                return
            last = [literal(page[-1][column.name], column.type) for column in key]
            statement = own.where(tuple_(*key) > tuple_(*last))

    async def sum(self, kind: str) -> Sum:
        """Raises SecretUnreadableError."""
        found = Sum()
        async for page in self.pages(kind):
            found = found.plus(page)
        return found

    # ------------------------------------------------------------ writing

    async def clear(self) -> None:
        """Remove what an earlier run wrote. Raises ConflictError: it is not our run's any more."""
        for row in reversed(TABLES):
            table = table_of(row)
            async with self._writer(row).write() as session:
                await require_arriving(session, self.tenant, self._run)
                await session.execute(delete(table).where(table.c.tenant == self.tenant))

    async def add(self, kind: str, page: Sequence[Row]) -> None:
        """Raises ConflictError: it is not our run's any more, or the pod has a key of this id."""
        row = self.kinds[kind]
        rows = [self._encrypted(found) for found in page] if row is CameraRow else list(page)
        async with self._writer(row).write() as session:
            await require_arriving(session, self.tenant, self._run)
            await session.execute(insert(table_of(row)), rows)

    async def extend_audit(self, log: AuditLog, entries: Sequence[AuditEntry]) -> None:
        """Add what is behind the end of the tenant's chain here.

        Args:
            log: of this database.
            entries: some of the other cluster's chain, in order.

        Raises:
            ConflictError: the chain here is not the beginning of that one.
        """
        head = await log.head()
        for entry in entries:
            if entry.sequence == head.sequence and entry.hash != head.hash:
                raise self._another_chain(head)
        behind = [entry for entry in entries if entry.sequence > head.sequence]
        if not behind:
            return
        if behind[0].sequence != head.sequence + 1 or behind[0].prev_hash != head.hash:
            raise self._another_chain(head)
        async with self._sessions.write() as session:
            await require_arriving(session, self.tenant, self._run)
            await session.execute(insert(AuditRow), [asdict(entry) for entry in behind])

    async def remove(self) -> None:
        """Remove what arrived, and the tenant. Its audit log stays: nobody can remove entries."""
        await self.clear()
        async with self._sessions.write() as session:
            await require_arriving(session, self.tenant, self._run)
            await session.execute(delete(TenantRow).where(TenantRow.slug == self.tenant))

    def _writer(self, row: type[Base]) -> Sessions:
        return self._platform if row is QuotaRow else self._sessions

    def _another_chain(self, head: Head) -> ConflictError:
        return ConflictError(
            f"the pod has an audit log of {self.tenant} with {head.sequence} entries, which is not "
            "the beginning of this one.",
            hint="It is of another time, or was changed: choose another pod.",
        )

    # ------------------------------------------------------------ secrets

    def _decrypted(self, row: Row) -> Row:
        change = {
            column: self._cipher.decrypt(row[column], self._place(row, column))
            for column in CAMERA_SECRETS
            if row[column] is not None
        }
        return row | change

    def _encrypted(self, row: Row) -> Row:
        change = {
            column: self._cipher.encrypt(row[column], self._place(row, column))
            for column in CAMERA_SECRETS
            if row[column] is not None
        }
        return row | change

    def _place(self, row: Row, column: str) -> SecretPlace:
        return SecretPlace(self.tenant, CameraRow.__tablename__, row["id"], column)


def _digest(row: Row) -> int:
    """SHA-256 of a row, the same in every kind of database."""
    spelt = json.dumps(_plain(row), sort_keys=True, separators=(",", ":")).encode()
    return int.from_bytes(hashlib.sha256(spelt).digest(), "big")


def _plain(value: Any) -> Any:
    """As JSON. PostgreSQL does not keep whether a number had a fraction of zero."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case UUID():
            return str(value)
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case float() if value.is_integer():
            return int(value)
    return value
