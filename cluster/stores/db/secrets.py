"""How the secrets of every tenant are stored, and their encryption with the current key."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from sqlalchemy import Select, Text, func, literal, or_, select, tuple_, type_coerce

from cluster.stores.db.convert import CAMERA_SECRETS, secret_place
from cluster.stores.db.encryption import RecordCipher, StoredAs
from cluster.stores.db.models import CameraRow
from cluster.stores.db.sessions import Sessions
from pipelines.errors import SecretUnreadableError

# Rows per transaction, which others who write wait for: 100 take some 10 ms.
PAGE = 100


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A secret that cannot be decrypted, and why; `reason` does not hold what is stored."""

    tenant: str
    camera: str
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """What was found in some rows. Counts are of secrets.

    Attributes:
        rows: cameras.
        plain: were unencrypted.
        other: were encrypted with another key.
        current: were encrypted with the current key already.
    """

    rows: int = 0
    plain: int = 0
    other: int = 0
    current: int = 0
    unreadable: tuple[UnreadableRow, ...] = ()

    def __add__(self, more: Reencrypted) -> Reencrypted:
        return Reencrypted(
            self.rows + more.rows,
            self.plain + more.plain,
            self.other + more.other,
            self.current + more.current,
            self.unreadable + more.unreadable,
        )

    @property
    def outdated(self) -> int:
        """Secrets that were not encrypted with the current key, and can be."""
        return self.plain + self.other


class StoredSecrets:
    """Made by `Database.secrets`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, cipher: RecordCipher) -> None:
        self._sessions = sessions
        self._cipher = cipher

    async def rows(self) -> int:
        """How many rows hold secrets."""
        async with self._sessions.read() as session:
            return await session.scalar(select(func.count()).select_from(CameraRow)) or 0

    async def plain(self) -> int:
        """How many rows hold a secret that is not encrypted."""
        # As `encryption` tells them apart.
        texts = (type_coerce(getattr(CameraRow, name), Text) for name in CAMERA_SECRETS)
        unencrypted = or_(*(text.contains("://") for text in texts))
        async with self._sessions.read() as session:
            statement = select(func.count()).select_from(CameraRow).where(unencrypted)
            return await session.scalar(statement) or 0

    async def pages(self, *, write: bool, size: int = PAGE) -> AsyncGenerator[Reencrypted, None]:
        """Look at every secret, and encrypt with the current key those that are not yet.

        A page at a time, each in a transaction of its own: who stops in the middle goes on from
        there the next time. Others may write meanwhile.

        Args:
            write: False: only look.
            size: rows per page.

        Raises:
            ConfigError: this process has no key.
        """
        after: tuple[str, str] | None = None
        while True:
            async with self._sessions.write() if write else self._sessions.read() as session:
                rows = list(await session.scalars(_page(after, size, lock=write)))
                found = sum((self._row(row, write) for row in rows), Reencrypted())
            if not rows:
                return
            yield found
            after = rows[-1].tenant, rows[-1].id

    def _row(self, row: CameraRow, write: bool) -> Reencrypted:
        secrets = (self._secret(row, column, write) for column in CAMERA_SECRETS)
        return sum(secrets, Reencrypted(rows=1))

    def _secret(self, row: CameraRow, column: str, write: bool) -> Reencrypted:
        stored = getattr(row, column)
        if stored is None:
            return Reencrypted()
        place = secret_place(row, column)
        try:
            secret = self._cipher.decrypt(stored, place)
        except SecretUnreadableError as error:
            lost = UnreadableRow(row.tenant, row.id, column, error.message)
            return Reencrypted(unreadable=(lost,))
        kind = self._cipher.stored_as(stored)
        if kind is StoredAs.CURRENT:
            return Reencrypted(current=1)
        if write:
            setattr(row, column, self._cipher.encrypt(secret, place))
        return Reencrypted(plain=1) if kind is StoredAs.PLAIN else Reencrypted(other=1)


def _page(after: tuple[str, str] | None, size: int, *, lock: bool) -> Select[CameraRow]:
    """`lock`: keep others from changing the rows; SQLite, which has but one writer, ignores it."""
    statement = select(CameraRow).order_by(CameraRow.tenant, CameraRow.id).limit(size)
    if after is not None:
        place = tuple_(literal(after[0]), literal(after[1]))
        statement = statement.where(tuple_(CameraRow.tenant, CameraRow.id) > place)
    return statement.with_for_update() if lock else statement
