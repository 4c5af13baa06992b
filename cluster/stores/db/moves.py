"""Which tenants are on their way to another cluster, and how far: for the command that moves them,
and for everybody who has to leave them alone meanwhile."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.stores.db.convert import insert_into
from cluster.stores.db.erased import is_leaving
from cluster.stores.db.models import TenantRow
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import unknown_tenant
from cluster.stores.db.types import Tenant
from pipelines.clock import Clock
from pipelines.domain import Frozen
from pipelines.errors import ConflictError
from pipelines.moving import MovePhase

_NOBODY = dict.fromkeys(("move_phase", "move_pod", "move_since_us", "move_run"))


class Move(Frozen):
    """A move as one of the two clusters knows it.

    Attributes:
        pod: the other cluster.
        since_us: when the phase began, UTC microseconds.
        run: the command that does it.
    """

    tenant: str
    phase: MovePhase
    pod: str
    since_us: int
    run: str


class TenantMoves:
    """Made by `Database.moves`. Every method may raise UnavailableError.

    Args:
        run: of the command that moves; a phase that somebody else's run has is not changed.
    """

    def __init__(self, sessions: Sessions, clock: Clock, run: str = "") -> None:
        self._sessions = sessions
        self._clock = clock
        self._run = run

    async def all(self) -> dict[str, Move]:
        """All that are under way, by tenant."""
        async with self._sessions.read() as session:
            rows = await session.scalars(select(TenantRow).where(TenantRow.move_phase.is_not(None)))
            return {row.slug: _move_of(row) for row in rows}

    async def find(self, tenant: str) -> tuple[Tenant, int, Move | None] | None:
        """A tenant with its counter of revisions, and its move; None: there is no such tenant."""
        async with self._sessions.read() as session:
            row = await session.get(TenantRow, tenant)
            if row is None:
                return None
            made = Tenant(slug=row.slug, name=row.name, created_us=row.created_us)
            return made, row.revision, _move_of(row) if row.move_phase else None

    async def was_erased(self, tenant: str) -> bool:
        """Whether a tenant of this name lived here, and was erased or moved."""
        async with self._sessions.read() as session:
            return await is_leaving(session, tenant)

    # ------------------------------------------------------------ where it leaves

    async def leave(self, tenant: str, pod: str) -> Move:
        """Begin to move it to a pod, or take over a move there that is under way.

        Raises:
            NotFoundError: there is no such tenant.
            ConflictError: it is moved somewhere else, or arrives here.
        """
        async with self._sessions.write() as session:
            row = await _locked(session, tenant)
            if row.move_phase is None:
                row.move_phase, row.move_pod = MovePhase.DRAINING.value, pod
                row.move_since_us = self._clock.now_us()
            elif row.move_phase == MovePhase.ARRIVING or row.move_pod != pod:
                raise _elsewhere(tenant, _move_of(row))
            row.move_run = self._run
            return _move_of(row)

    async def advance(self, tenant: str, to: MovePhase | None) -> None:
        """The next phase of our run; None: it lives here, and nobody moves it.

        Raises:
            NotFoundError: there is no such tenant.
            ConflictError: another run took over.
        """
        async with self._sessions.write() as session:
            row = await _locked(session, tenant)
            if row.move_phase is None or row.move_run != self._run:
                raise _taken_over(tenant)
            if to not in MovePhase(row.move_phase).may_become:
                raise AssertionError(f"{row.move_phase} cannot become {to}")
            values = dict(_NOBODY)
            if to is not None:
                values |= {"move_phase": to.value, "move_pod": row.move_pod, "move_run": self._run}
                values |= {"move_since_us": self._clock.now_us()}
            change = update(TenantRow).where(TenantRow.slug == tenant).values(values)
            await session.execute(change)

    # ------------------------------------------------------------ where it arrives

    async def arrive(self, tenant: Tenant, revision: int, source: str) -> None:
        """Make the tenant, for the move to fill; or take over an earlier run.

        Raises:
            ConflictError: there is a tenant of this name, or there was.
        """
        async with self._sessions.write() as session:
            row = await session.get(TenantRow, tenant.slug, with_for_update=True)
            if row is not None and row.move_phase != MovePhase.ARRIVING:
                raise ConflictError(
                    f"there is a tenant {tenant.slug} in the pod.",
                    hint="A tenant lives in one cluster. Is it the right pod?",
                )
            if row is None and await is_leaving(session, tenant.slug):
                raise ConflictError(
                    f"a tenant {tenant.slug} lived in the pod, and was erased there.",
                    hint="Its audit log is kept under this name: choose another pod.",
                )
            values = {
                "slug": tenant.slug, "name": tenant.name, "created_us": tenant.created_us,
                "revision": revision, "move_phase": MovePhase.ARRIVING.value, "move_pod": source,
                "move_since_us": self._clock.now_us(), "move_run": self._run,
            }  # fmt: skip
            await session.execute(
                insert_into(session, TenantRow)
                .values(values)
                .on_conflict_do_update(index_elements=[TenantRow.slug], set_=values)
            )


async def require_arriving(session: AsyncSession, tenant: str, run: str) -> None:
    """In the transaction of a write. Raises ConflictError: another run took over, or it is over."""
    statement = select(TenantRow.move_phase, TenantRow.move_run).where(TenantRow.slug == tenant)
    found = (await session.execute(statement)).first()
    if found is None or tuple(found) != (MovePhase.ARRIVING.value, run):
        raise _taken_over(tenant)


async def _locked(session: AsyncSession, tenant: str) -> TenantRow:
    row = await session.get(TenantRow, tenant, with_for_update=True)
    if row is None:
        raise unknown_tenant(tenant)
    return row


def _elsewhere(tenant: str, move: Move) -> ConflictError:
    return ConflictError(
        f"a move of {tenant} is under way already: {move.phase.value}, {move.pod}.",
        hint="End it, or call it off with --abort.",
    )


def _taken_over(tenant: str) -> ConflictError:
    return ConflictError(
        f"another command moves {tenant}, or called the move off.", hint="Run one at a time."
    )


def _move_of(row: TenantRow) -> Move:
    assert row.move_phase is not None
    return Move(
        tenant=row.slug,
        phase=MovePhase(row.move_phase),
        pod=row.move_pod or "",
        since_us=row.move_since_us or 0,
        run=row.move_run or "",
    )
