"""`atalaia recordings …`: registers recordings that were made outside of Atalaia."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.cli.common import EXIT_FAILURE, Commands, err, out, settings
from pipelines.errors import InputError
from pipelines.times import zone_named

if TYPE_CHECKING:  # it imports libav and SQLAlchemy, and `atalaia --help` should not wait for them
    from cluster.recording.register import Registered

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="List, export and verify recordings; register those made outside of Atalaia; check that "
    "the files are there.",
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
    from cluster.recording.register import recordings_in, register
    from cluster.stores.blobs.tenant import TenantBlobs
    from cluster.stores.db import Database
    from pipelines.domain import CameraKey

    chosen = settings()
    paths = await asyncio.to_thread(recordings_in, folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    async with (
        Database.of(chosen) as database,
        TenantBlobs(chosen.blob_url, tenant) as blobs,
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


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return zone_named(name) if name is not None else None
    except ValueError:
        raise InputError(
            f"there is no time zone {name}.", hint="Use a name like America/Sao_Paulo."
        ) from None
