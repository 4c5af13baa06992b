"""`atalaia recordings …`: registers recordings that were made outside of Atalaia, and masks old
ones."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.cli.common import EXIT_FAILURE, Commands, err, out, settings
from pipelines.clock import SystemClock
from pipelines.errors import InputError
from pipelines.times import zone_named

if TYPE_CHECKING:  # it imports libav and SQLAlchemy, and `atalaia --help` should not wait for them
    from cluster.recording.register import Registered
    from cluster.remasking.job import Remasked, Remasking
    from cluster.stores.db import Database

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="List, export and verify recordings; register those made outside of Atalaia; check that "
    "the files are there; paint masks into old ones.",
    epilog="Example: atalaia recordings register --tenant acme --camera gate recordings/gate",
)


@app.command(
    epilog="Example: atalaia recordings register --tenant acme --camera gate recordings/gate"
)
def register(
    folder: Annotated[
        Path, typer.Argument(help="Folder with MediaMTX's recordings of this camera.")
    ],
    camera: Annotated[str, typer.Option(help="Whose recordings these are.")],
    tenant: Annotated[str, typer.Option(help="Whose camera that is.")],
    timezone: Annotated[
        str | None,
        typer.Option(help="Of MediaMTX's machine, like America/Sao_Paulo. Default: this one's."),
    ] = None,
) -> None:
    """Store and register MediaMTX's recordings, as if they had been made here. Idempotent.

    The source files stay where they are. Unreadable files are skipped and reported, with exit
    code 1.
    """
    done = asyncio.run(_register(folder, camera, tenant, _zone(timezone)))
    out().print(f"{done.entered} recordings of {camera} registered", markup=False)
    for path, reason in done.skipped.items():
        err().print(f"skipped {path}: {reason}", style="yellow", markup=False)
    if done.skipped:
        raise typer.Exit(EXIT_FAILURE)


async def _register(folder: Path, camera: str, tenant: str, zone: ZoneInfo | None) -> Registered:
    from cluster.recording.footage import guarded_blobs
    from cluster.recording.register import recordings_in, register
    from cluster.stores.db import Database
    from pipelines.domain import CameraKey

    chosen = settings()
    paths = await asyncio.to_thread(recordings_in, folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    async with (
        Database.of(chosen) as database,
        await guarded_blobs(chosen.blob_url, tenant, database) as blobs,
    ):
        with Progress(*columns, TimeRemainingColumn(), console=err(), transient=True) as progress:
            bar = progress.add_task(f"recordings of {camera}", total=len(paths))
            return await register(
                CameraKey(tenant, camera),
                paths,
                database=database,
                blobs=blobs,
                zone=zone,
                on_file=lambda _: progress.advance(bar),
            )


@app.command(epilog="Example: atalaia recordings mask --tenant acme --camera gate")
def mask(
    camera: Annotated[str, typer.Option(help="Whose recordings, clips and pictures.")],
    tenant: Annotated[str, typer.Option(help="Whose camera that is.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how much there is to do.")
    ] = False,
) -> None:
    """Paint a camera's privacy masks into what was recorded before it had them.

    The originals are removed for good, and pictures of objects that a mask touches with them; what
    a legal hold keeps stays as it is. May be stopped at any time and started again. What stays
    unmasked is reported, with exit code 1.
    """
    done = asyncio.run(_mask(camera, tenant, dry_run=dry_run))
    if done is None:
        return
    out().print(
        f"masks painted into {done.recordings} recordings, {done.clips} clips and {done.pictures} "
        f"pictures of alarms; {done.removed} pictures of objects removed",
        markup=False,
    )
    notes = [*done.reasons]
    if done.held:
        notes.append(f"{done.held} left unmasked: a legal hold keeps them")
    if done.frames_lost:
        notes.append(f"{done.frames_lost} frames were damaged before, and are left out")
    if done.masks_changed:
        notes.append("the masks were changed meanwhile; run this again")
    for note in notes:
        err().print(note, style="yellow", markup=False)
    if done.failed or done.held or done.masks_changed:
        raise typer.Exit(EXIT_FAILURE)


async def _mask(camera: str, tenant: str, *, dry_run: bool) -> Remasked | None:
    from cluster.clips.scratch import Scratch
    from cluster.recording.footage import guarded_blobs
    from cluster.remasking.job import Remasking, masked_camera
    from cluster.stores.db import Database
    from pipelines.domain import CameraKey

    chosen = settings()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    scratch = Scratch(chosen.scratch_dir, 1)
    try:
        async with (
            Database.of(chosen) as database,
            # On a disk that is not mounted no picture is found: it must not count as masked.
            await guarded_blobs(chosen.blob_url, tenant, database) as blobs,
        ):
            masked = await masked_camera(database, CameraKey(tenant, camera))
            with Progress(
                *columns, TimeRemainingColumn(), console=err(), transient=True
            ) as progress:
                bar = progress.add_task(f"masks of {camera}", total=None)
                job = Remasking(
                    masked,
                    database=database,
                    blobs=blobs,
                    scratch=scratch,
                    clock=SystemClock(),
                    on_thing=lambda: progress.advance(bar),
                )
                due = await job.counts()
                progress.update(bar, total=due.total)
                if dry_run:
                    out().print(
                        f"to do: {due.recordings} recordings, {due.alarms} alarms with pictures or "
                        f"clips, {due.objects} pictures of objects"
                    )
                    return None
                # Linux has a priority for each thread; this one does all of the painting.
                await scratch.run(lambda: os.nice(chosen.batch.nice))
                return await _logged(job, database, tenant, camera)
    finally:
        scratch.close()


async def _logged(job: Remasking, database: Database, tenant: str, camera: str) -> Remasked:
    """Run it, with entries in the tenant's audit log before and after: what is changed for good is
    not changed without one. Raises as `Remasking.run`."""
    from cluster.stores.audit.events import AuditAction, AuditEvent

    async def log(state: str) -> None:
        event = AuditEvent(
            at_us=SystemClock().now_us(),
            actor="system:cli",
            action=AuditAction.MASKS_PAINT,
            object_kind="camera",
            object_id=camera,
            details={"state": state, "uid": os.getuid(), **job.done.counts()},
        )
        await database.audit(tenant).append([event])

    await log("begun")
    try:
        done = await job.run()
    except BaseException:
        await log("broken off")
        raise
    await log("ended")
    return done


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return zone_named(name) if name is not None else None
    except ValueError:
        raise InputError(
            f"there is no time zone {name}.", hint="Use a name like America/Sao_Paulo."
        ) from None
