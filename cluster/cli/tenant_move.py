"""`atalaia tenant move`: a tenant and all that it has, into a pod of its own."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from cluster.cli.common import EXIT_WRONG_INPUT, Commands, err, out, settings
from cluster.cli.tenant_export import COLUMNS, Bar
from cluster.core.settings import Settings
from cluster.core.tenancy import require_tenant
from cluster.local.secrets import with_database_key
from pipelines.clock import SystemClock
from pipelines.errors import ConflictError

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.portability.move import Side, TenantMove

app = typer.Typer(cls=Commands)
"""Has no name of its own: its commands are merged into those of `cluster.cli.access`."""

SHARED = "shared"
"""What the cluster is called that is no pod."""


class MoveBar(Bar):
    """Shows a move as `portability.move.MoveProgress` wants it."""

    def step(self, text: str) -> None:
        self._progress.console.print(text, style="dim", markup=False)
        self._progress.update(self._task, visible=False)
        self._task = self._progress.add_task(text, total=None)
        self._lines = 0


@app.command("move", epilog="Example: atalaia tenant move acme --to acme_pod --dry-run")
def move_tenant(
    tenant: Annotated[str, typer.Argument(help="The tenant to move.")],
    to: Annotated[str, typer.Option("--to", help="Name of a pod in the settings (`pods`).")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would move, and what prevents it.")
    ] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Abort a move; the tenant stays where it was.")
    ] = False,
    drop_dead_letters: Annotated[
        bool,
        typer.Option(
            "--drop-dead-letters", help="Leave alarms behind that could never be recorded."
        ),
    ] = False,
) -> None:
    """Move a tenant into a pod. Its cameras pause meanwhile. Run it again to resume."""
    require_tenant(tenant)
    if dry_run and abort:
        raise typer.BadParameter("--dry-run and --abort exclude each other.")
    chosen = settings()
    work = _abort if abort else partial(_plan, chosen) if dry_run else _run
    with _alone(chosen, tenant):
        asyncio.run(_with_move(chosen, tenant, to, drop_dead_letters, work))


async def _with_move(
    chosen: Settings,
    tenant: str,
    to: str,
    drop: bool,
    work: Callable[[TenantMove, str], Awaitable[None]],
) -> None:
    with Progress(*COLUMNS, console=err(), transient=True) as progress:
        async with _opened(chosen, tenant, to, drop, MoveBar(progress)) as move:
            await work(move, to)


async def _plan(chosen: Settings, move: TenantMove, to: str) -> None:
    from cluster.portability.reach import unreachable

    plan = await move.plan()
    obstacles = [*plan.obstacles, *await unreachable(chosen.of_pod(to))]
    if plan.phase is not None:
        out().print(f"under way: {plan.phase}")
    for kind, count in plan.rows.items():
        out().print(f"{kind}: {count:,}", markup=False)
    out().print(f"files: {plan.files:,} ({plan.bytes:,} bytes)")
    vectors = "cannot be counted while the cluster runs" if plan.vectors is None else plan.vectors
    out().print(f"vectors: {vectors}")
    for obstacle in obstacles:
        out().print(f"in the way: {obstacle}", style="yellow", markup=False)
    if obstacles:
        raise typer.Exit(EXIT_WRONG_INPUT)
    err().print("Next: the same command without --dry-run.", style="dim", markup=False)


async def _run(move: TenantMove, to: str) -> None:
    report = await move.run()
    rows = sum(report.rows.values())
    out().print(f"{move.tenant} lives in {to} now: {rows:,} rows, and all files", markup=False)
    err().print(
        f"What is left here is erased by the controller: atalaia erasure show {report.erasure} "
        "--platform",
        style="dim",
        markup=False,
    )
    err().print(
        f"Name it in the settings: pods.{to}.tenants, and tell its users the new address.",
        style="dim",
        markup=False,
    )


async def _abort(move: TenantMove, to: str) -> None:
    await move.abort()
    out().print(f"{move.tenant} stays; nothing of it is in {to}", markup=False)


@asynccontextmanager
async def _opened(
    chosen: Settings, tenant: str, to: str, drop: bool, bar: MoveBar
) -> AsyncIterator[TenantMove]:
    from cluster.portability.drain import open_drain
    from cluster.portability.move import TenantMove

    pod = chosen.of_pod(to)
    if pod.pod == chosen.pod:
        raise ConflictError(f"{to} is this cluster.", hint="Name another pod.")
    if pod.embedder.model != chosen.embedder.model:
        raise ConflictError(
            f"pod {to} has another embedder, which cannot compare the vectors of this one.",
            hint=f"Give pods.{to}.embedder the same model.",
        )
    folder = chosen.data_dir.resolve() / "moves" / f"{tenant}.{to}"
    async with AsyncExitStack() as stack:
        # Where its disk is not mounted it seems to have no files: none would be moved, and all of
        # them erased here when the disk is back.
        source = await _side(stack, chosen, tenant, guarded=True)
        target = await _side(stack, pod, tenant)
        yield TenantMove(
            tenant,
            source,
            target,
            open_drain=partial(open_drain, chosen, source.database, tenant),
            folder=folder,
            run=token_hex(16),
            settle_s=chosen.erasure.settle_s,
            clock=SystemClock(),
            sleep=asyncio.sleep,
            progress=bar,
            drop_dead_letters=drop,
        )


async def _side(
    stack: AsyncExitStack, chosen: Settings, tenant: str, *, guarded: bool = False
) -> Side:
    """Args:
    guarded: its files are there already, so the disk must be mounted.
    """
    from cluster.portability.move import Side
    from cluster.recording.footage import guarded_blobs
    from cluster.stores.blobs.tenant import TenantBlobs
    from cluster.stores.db import Database
    from cluster.stores.db.encryption import RecordCipher
    from cluster.stores.vectors.tenant import connect

    cipher = RecordCipher.of(with_database_key(chosen))
    database = await stack.enter_async_context(Database.of(chosen, cipher=cipher))
    await database.ping()
    url = chosen.blob_url
    blobs = await guarded_blobs(url, tenant, database) if guarded else TenantBlobs(url, tenant)
    await stack.enter_async_context(blobs)
    return Side(chosen.pod or SHARED, database, blobs, partial(connect, chosen))


@contextmanager
def _alone(chosen: Settings, tenant: str) -> Iterator[None]:
    """Of several commands on this machine, one. Raises ConflictError: another one runs."""
    folder = chosen.data_dir.resolve() / "moves"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / f".{tenant}").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConflictError(f"another command moves {tenant}.", hint="Wait for it.") from None
        yield
