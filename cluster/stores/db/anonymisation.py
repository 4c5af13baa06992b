"""One tenant's anonymisation policy, and who may see originals for some minutes."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import of_row
from cluster.stores.db.models import AnonymisationRow, RevealRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant, put_only_row
from cluster.stores.db.types import Reveal, StoredAnonymisation
from pipelines.anonymisation import AnonymisationPolicy
from pipelines.clock import Clock
from pipelines.errors import ConflictError, NotFoundError

# Each request for evidence reads those of its actor.
MAX_ACTIVE_REVEALS = 20
MAX_REVEALS_LISTED = 500
# The audit log keeps reveals for good.
KEPT_US = 30 * 86_400_000_000


class TenantAnonymisation:
    """Made by `Database.anonymisation`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    # ------------------------------------------------------------ policy

    async def policy(self) -> StoredAnonymisation | None:
        """None where the tenant never set one: nothing is hidden then."""
        async with self._sessions.read() as session:
            row = await session.scalar(select(AnonymisationRow))
        if row is None:
            return None
        return StoredAnonymisation(
            policy=AnonymisationPolicy.model_validate(row.body),
            changed_us=row.changed_us,
            changed_by=row.changed_by,
        )

    async def set_policy(self, policy: AnonymisationPolicy, by: str) -> StoredAnonymisation:
        """Replace the policy as a whole. Raises NotFoundError: there is no such tenant."""
        stored = StoredAnonymisation(policy=policy, changed_us=self._clock.now_us(), changed_by=by)
        values = {
            "body": policy.model_dump(mode="json"),
            "changed_us": stored.changed_us,
            "changed_by": by,
        }
        async with self._sessions.write() as session:
            await put_only_row(session, AnonymisationRow, self.tenant, values)
        return stored

    # ------------------------------------------------------------ reveals

    async def add_reveal(
        self,
        camera: str,
        span: tuple[int, int],
        reason: str,
        by: str,
        *,
        minutes: int,
        now_us: int,
        alarm: UUID | None = None,
        track: str | None = None,
    ) -> Reveal:
        """Show originals to one actor from now on.

        Args:
            span: capture times, both ends included.
            now_us: UTC microseconds.

        Raises:
            ConflictError: the actor has `MAX_ACTIVE_REVEALS` already.
            NotFoundError: there is no such tenant.
        """
        reveal = Reveal(
            id=uuid4(),
            camera=camera,
            from_us=span[0],
            to_us=span[1],
            alarm=alarm,
            track=track,
            reason=reason,
            created_us=now_us,
            created_by=by,
            expires_us=now_us + minutes * 60_000_000,
        )
        async with self._sessions.write() as session:
            await lock_tenant(session, self.tenant)
            active = select(func.count()).select_from(RevealRow)
            active = active.where(
                RevealRow.created_by == by,
                RevealRow.expires_us > now_us,
                RevealRow.ended_us.is_(None),
            )
            if (await session.scalar(active) or 0) >= MAX_ACTIVE_REVEALS:
                raise ConflictError(
                    f"you have {MAX_ACTIVE_REVEALS} reveals already.",
                    hint="End one: DELETE /v1/reveals/{id}.",
                )
            old = delete(RevealRow).where(RevealRow.created_us < now_us - KEPT_US)
            await session.execute(old)
            session.add(RevealRow(tenant=self.tenant, **reveal.model_dump()))
        return reveal

    async def active(self, by: str, now_us: int) -> Sequence[Reveal]:
        """What an actor may see at that time."""
        statement = (
            select(RevealRow)
            .where(
                RevealRow.created_by == by,
                RevealRow.expires_us > now_us,
                RevealRow.ended_us.is_(None),
            )
            .limit(MAX_ACTIVE_REVEALS)
        )
        async with self._sessions.read() as session:
            return [_reveal_of(row) for row in await session.scalars(statement)]

    async def reveal(self, id: UUID) -> Reveal:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            return _reveal_of(await _row(session, id))

    async def reveals(self) -> list[Reveal]:
        """The latest, newest first; those of the last 30 days at most."""
        statement = select(RevealRow).order_by(RevealRow.created_us.desc(), RevealRow.id)
        async with self._sessions.read() as session:
            rows = await session.scalars(statement.limit(MAX_REVEALS_LISTED))
            return [_reveal_of(row) for row in rows]

    async def end_reveal(self, id: UUID, by: str, now_us: int) -> Reveal:
        """It shows nothing any more. Again changes nothing. Raises NotFoundError."""
        async with self._sessions.write() as session:
            await session.execute(
                update(RevealRow)
                .where(RevealRow.id == id, RevealRow.ended_us.is_(None))
                .values(ended_us=now_us, ended_by=by)
            )
            return _reveal_of(await _row(session, id))


async def _row(session: AsyncSession, id: UUID) -> RevealRow:
    row = await session.scalar(select(RevealRow).where(RevealRow.id == id))
    if row is None:
        raise NotFoundError(f"there is no reveal {id}.")
    return row


def _reveal_of(row: RevealRow) -> Reveal:
    return of_row(Reveal, row)
