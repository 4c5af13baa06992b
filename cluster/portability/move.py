"""Moves a tenant into another cluster: everything, or nothing that anybody sees.

The command may be killed anywhere and run again. Whose the tenant is, the source's row says: until
it is `moved`, the source has everything and the move can be called off; from then on nobody writes
there again, and the pod's copy, which was compared with the source, becomes the tenant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from cluster.core.log import get_logger
from cluster.portability.arrival import MediaCopy, VectorCopy, forget, listed
from cluster.portability.drain import Drain
from cluster.portability.export import Progress
from cluster.stores.audit.chain import ChainCheck
from cluster.stores.audit.events import AuditAction, AuditEvent
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database
from cluster.stores.db.handover import Sum
from cluster.stores.db.moves import Move
from cluster.stores.db.types import Tenant
from cluster.stores.vectors.tenant import VectorClient
from pipelines.clock import Clock
from pipelines.domain import Frozen
from pipelines.errors import ConflictError, NotFoundError, UnavailableError
from pipelines.moving import MovePhase

log = get_logger("portability")

ACTOR = "system:move"
POLL_S = 2.0
# For streams that are never empty: an hour of alarms is written in minutes.
DRAIN_MAX_S = 3600.0
# From the moment in which the records are shut until they are read: a transaction that began before
# has ended. The database gives up on one after 15 s.
SHUT_S = 30.0
_SHOWN = 5

P = MovePhase


class MoveProgress(Progress, Protocol):
    """What a move reports while it runs."""

    def step(self, text: str) -> None:
        """The next step begins."""
        ...


@dataclass(frozen=True, slots=True)
class Side:
    """The stores of one of the two clusters; closed by who made them.

    Attributes:
        name: of the pod; or what the cluster without a name is called.
        open_vectors: a client; raises UnavailableError where another process has the folder.
    """

    name: str
    database: Database
    blobs: TenantBlobs
    open_vectors: Callable[[], VectorClient]


class MovePlan(Frozen):
    """What a move would do.

    Attributes:
        obstacles: what has to be mended before; empty: it can begin.
        phase: how far an earlier run came; None: there was none.
        rows: by kind.
        vectors: None: they cannot be counted while the cluster runs with the embedded engine.
    """

    obstacles: tuple[str, ...]
    phase: MovePhase | None
    rows: dict[str, int]
    files: int
    bytes: int
    vectors: int | None


class MoveReport(Frozen):
    """What was moved, and the erasure of what is left at the source."""

    rows: dict[str, int]
    erasure: UUID


class TenantMove:
    """One run of the command.

    Args:
        tenant: whose.
        open_drain: its streams at the source, where they have to be read.
        folder: of this move, on this machine, for nobody else.
        run: names this run; `Database.moves` and `handover` of both sides have it, too.
        settle_s: how long what is on its way may take to arrive.
        sleep: as asyncio's.
        drop_dead_letters: leave behind what could never be recorded.
    """

    def __init__(
        self,
        tenant: str,
        source: Side,
        target: Side,
        *,
        open_drain: Callable[[], AbstractAsyncContextManager[Drain]],
        folder: Path,
        run: str,
        settle_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        progress: MoveProgress,
        drop_dead_letters: bool = False,
    ) -> None:
        self.tenant = tenant
        self._source = source
        self._target = target
        self._open_drain = open_drain
        self._settle_s = settle_s
        self._clock = clock
        self._sleep = sleep
        self._progress = progress
        self._drop_dead_letters = drop_dead_letters
        self._leaving = source.database.moves(run)
        self._arriving = target.database.moves(run)
        self._from = source.database.handover(tenant, run)
        self._into = target.database.handover(tenant, run)
        self._media = MediaCopy(source.blobs, target.blobs, folder, progress)

    # ------------------------------------------------------------ dry run

    async def plan(self) -> MovePlan:
        """Look, and change nothing. Raises NotFoundError, UnavailableError."""
        _, _, move = await self._at_source()
        obstacles = [f"{one} are under way" for one in await self._from.unfinished()]
        obstacles += await self._unreadable()
        obstacles += await self._occupied(move)
        if self._dead_letters_matter(move):
            async with self._open_drain() as drain:
                if await drain.dead_letters():
                    obstacles.append("entries of its streams can never be recorded")
        files = [blob async for blob in listed(self._source.blobs)]
        return MovePlan(
            obstacles=tuple(obstacles),
            phase=move.phase if move else None,
            rows=await self._from.counts(),
            files=len(files),
            bytes=sum(blob.size for blob in files),
            vectors=await self._count_vectors(),
        )

    async def _count_vectors(self) -> int | None:
        try:
            async with _opened(self._source) as vectors:
                return await VectorCopy(vectors, vectors, self.tenant).count()
        except UnavailableError:
            return None

    async def _unreadable(self) -> list[str]:
        cameras = await self._source.database.tenant(self.tenant).cameras()
        lost = sorted(camera.id for camera in cameras if camera.unreadable)
        return [f"the address of camera {camera} does not decrypt" for camera in lost]

    async def _occupied(self, move: Move | None) -> list[str]:
        """What is in the way in the pod, where no earlier run put it."""
        found = await self._arriving.find(self.tenant)
        if found is None:
            if await self._arriving.was_erased(self.tenant):
                return [f"{self.tenant} lived in the pod before, and was erased there"]
            inner, files = await self._target.blobs.within()
            return [f"the pod's storage has files of {self.tenant}"] if inner or files else []
        arriving = found[2] is not None and found[2].phase is P.ARRIVING
        finished = move is not None and move.phase is P.MOVED
        return [] if arriving or finished else [f"the pod has a tenant {self.tenant}"]

    # ------------------------------------------------------------ moving

    async def run(self) -> MoveReport:
        """Move it, or go on where an earlier run was broken off.

        Raises:
            NotFoundError: there is no such tenant.
            ConflictError: it cannot be moved now, or the pod has not what was written there.
            SecretUnreadableError: a secret does not decrypt.
            UnavailableError: a store is away. The next run goes on.
        """
        tenant, revision, move = await self._at_source()
        if move is None or move.phase is not P.MOVED or not await self._is_there():
            await self._bring(tenant, revision, move)
        return await self._leave_behind()

    async def _bring(self, tenant: Tenant, revision: int, move: Move | None) -> None:
        if move is None:
            await self._check()
        await self._arriving.arrive(tenant, revision, self._source.name)
        if move is None:
            self._progress.step("files, while the tenant still works")
            await self._media.run()
        move = await self._leaving.leave(self.tenant, self._target.name)
        if move.phase is P.DRAINING:
            await self._drain(move)
        await self._wait_until_shut()
        # Its counter may have risen until then.
        tenant, revision, _ = await self._at_source()
        await self._arriving.arrive(tenant, revision, self._source.name)
        rows = await self._copy()
        await self._compare(rows)
        await self._cut_over()

    async def _check(self) -> None:
        obstacles = (await self.plan()).obstacles
        if obstacles:
            raise ConflictError(
                f"{self.tenant} cannot be moved now: {'; '.join(obstacles[:_SHOWN])}.",
                hint="See them all with --dry-run; docs/operations.md says what to do.",
            )

    def _dead_letters_matter(self, move: Move | None) -> bool:
        shut = move is not None and move.phase is not P.DRAINING
        return not self._drop_dead_letters and not shut

    async def _drain(self, move: Move) -> None:
        """Wait until what cameras and hosts still send is in the records, then shut them."""
        self._progress.step("what is on its way")
        settled_us = move.since_us + round(self._settle_s * 1e6)
        last_us = self._clock.now_us() + round((self._settle_s + DRAIN_MAX_S) * 1e6)
        async with self._open_drain() as drain, drain.reading():
            while self._clock.now_us() < settled_us or not await drain.is_empty():
                if self._clock.now_us() > last_us:
                    raise UnavailableError(
                        f"alarms of {self.tenant} still arrive.",
                        hint="Does the controller run? It ends the cameras. Then run this again.",
                    )
                await self._sleep(POLL_S)
            if self._dead_letters_matter(move) and await drain.dead_letters():
                raise ConflictError(
                    f"entries of the streams of {self.tenant} can never be recorded.",
                    hint="Look into them, then run this again with --drop-dead-letters.",
                )
        if unfinished := await self._from.unfinished():
            raise ConflictError(
                f"{' and '.join(unfinished)} began meanwhile.", hint="Run this again when they end."
            )
        await self._leaving.advance(self.tenant, P.CLOSED)

    async def _wait_until_shut(self) -> None:
        _, _, move = await self._at_source()
        assert move is not None
        while self._clock.now_us() < move.since_us + SHUT_S * 1e6:
            await self._sleep(POLL_S)

    async def _copy(self) -> dict[str, Sum]:
        """Everything, while nobody writes; what was copied of each kind of row."""
        self._progress.step("files that are new")
        await self._media.run()
        self._progress.step("vectors")
        async with _opened(self._source) as mine, _opened(self._target) as theirs:
            await VectorCopy(mine, theirs, self.tenant).run()
        await self._into.clear()
        rows = {kind: await self._copy_rows(kind) for kind in self._from.kinds}
        await self._copy_audit()
        return rows

    async def _copy_rows(self, kind: str) -> Sum:
        found = Sum()
        async for page in self._from.pages(kind):
            await self._into.add(kind, page)
            found = found.plus(page)
            self._progress.rows(kind, len(page))
        return found

    async def _copy_audit(self) -> None:
        check = ChainCheck(self.tenant)
        log_there = self._target.database.audit(self.tenant)
        async for page in self._source.database.audit(self.tenant).entries():
            for entry in page:
                if wrong := check.feed(entry):
                    raise ConflictError(
                        f"the audit log of {self.tenant} does not verify: {wrong.detail}.",
                        hint="Run `atalaia audit verify`, and settle first what it finds.",
                    )
            await self._into.extend_audit(log_there, page)
            self._progress.rows("audit", len(page))

    async def _compare(self, copied: dict[str, Sum]) -> None:
        """Read both clusters once more. Raises ConflictError: they differ."""
        self._progress.step("comparing")
        wrong = []
        for kind, before in copied.items():
            if not await self._from.sum(kind) == before == await self._into.sum(kind):
                wrong.append(f"rows of {kind}")
        mine = await self._source.database.audit(self.tenant).head()
        if mine != await self._target.database.audit(self.tenant).head():
            wrong.append("the audit log")
        wrong += await self._media.differences()
        async with _opened(self._source) as here, _opened(self._target) as there:
            wrong += await VectorCopy(here, there, self.tenant).differences()
        if wrong:
            raise ConflictError(
                f"the pod has not what {self._source.name} has: {', '.join(wrong[:_SHOWN])}.",
                hint="Nothing was changed over. Run this again, or call it off with --abort.",
            )

    async def _cut_over(self) -> None:
        """From the first line on the tenant is the pod's."""
        _, _, move = await self._at_source()
        if move is not None and move.phase is P.CLOSED:
            await self._leaving.advance(self.tenant, P.MOVED)
        await self._arriving.advance(self.tenant, None)

    async def _is_there(self) -> bool:
        """Whether it lives in the pod."""
        found = await self._arriving.find(self.tenant)
        return found is not None and found[2] is None

    async def _leave_behind(self) -> MoveReport:
        """Log it in both clusters, and have what is left at the source erased."""
        self._progress.step("the end")
        rows = await self._into.counts()
        if not await self._leaving.was_erased(self.tenant):
            await self._log()  # a kill behind it logs it twice rather than never
        work = self._source.database.erasure_work(self.tenant)
        erasure = await work.ask_after_move(self._target.name, ACTOR)
        return MoveReport(rows=rows, erasure=erasure.id)

    async def _log(self) -> None:
        event = AuditEvent(
            at_us=self._clock.now_us(),
            actor=ACTOR,
            action=AuditAction.TENANT_MOVE,
            object_kind="tenant",
            object_id=self.tenant,
            details={
                "tenant": self.tenant, "from": self._source.name, "to": self._target.name,
            },
        )  # fmt: skip
        for chain in (
            self._source.database.platform_audit(),
            self._source.database.audit(self.tenant),
            self._target.database.platform_audit(),
            self._target.database.audit(self.tenant),
        ):
            await chain.append([event])

    # ------------------------------------------------------------ calling it off

    async def abort(self) -> None:
        """Let the tenant go on at the source, and remove what arrived in the pod.

        Raises:
            NotFoundError: there is no such tenant, or no move.
            ConflictError: it is the pod's already.
        """
        _, _, move = await self._at_source()
        found = await self._arriving.find(self.tenant)
        arrived = found is not None and found[2] is not None and found[2].phase is P.ARRIVING
        if move is None and not arrived:
            raise NotFoundError(f"{self.tenant} is not being moved.")
        if move is not None and not move.phase.can_end:
            raise ConflictError(
                f"{self.tenant} lives in {move.pod} already.", hint="Run the command to its end."
            )
        if arrived and found is not None:
            tenant, revision, _ = found
            await self._arriving.arrive(tenant, revision, self._source.name)  # takes it over
            await self._empty_pod()
        if move is not None:
            await self._leaving.leave(self.tenant, move.pod)  # likewise
            await self._leaving.advance(self.tenant, None)

    async def _empty_pod(self) -> None:
        await self._into.clear()
        async with _opened(self._target) as vectors:
            await forget(vectors, self.tenant)
        folders = [""]
        while folders:
            inner, blobs = await self._target.blobs.within(folders.pop())
            folders += inner
            await self._target.blobs.erase(blobs)
        await self._target.blobs.erase_folders()
        await self._into.remove()

    async def _at_source(self) -> tuple[Tenant, int, Move | None]:
        found = await self._leaving.find(self.tenant)
        if found is None:
            raise NotFoundError(f"there is no tenant {self.tenant} in {self._source.name}.")
        return found


@asynccontextmanager
async def _opened(side: Side) -> AsyncIterator[VectorClient]:
    """Raises UnavailableError: another process has the embedded engine's folder."""
    try:
        client = side.open_vectors()
    except UnavailableError as error:
        raise UnavailableError(
            f"{side.name}: {error.message}",
            hint="Stop this cluster, and run the command again: it goes on. With a Qdrant server "
            "the cluster may run.",
        ) from error
    try:
        yield client
    finally:
        await client.close()
