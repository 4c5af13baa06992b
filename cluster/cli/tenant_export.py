"""`atalaia tenant export` and `verify`: everything that a tenant has, in a folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cluster.cli.access import log_change
from cluster.cli.common import Commands, err, out, settings
from cluster.core.tenancy import require_tenant
from pipelines.clock import SystemClock
from pipelines.errors import NotFoundError

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.portability.manifest import TenantManifest

app = typer.Typer(cls=Commands)
"""Has no name of its own: its commands are merged into those of `cluster.cli.access`."""

COLUMNS = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())


class Bar:
    """Shows an export as `portability.export.Progress` wants it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("rows", total=None)
        self._lines = 0

    def rows(self, kind: str, lines: int) -> None:
        self._lines += lines
        self._progress.update(self._task, description=f"{kind}: {self._lines:,} rows in all")

    def found(self, files: int, size: int) -> None:
        self._progress.update(self._task, visible=False)
        self._task = self._progress.add_task(f"{files:,} files", total=size)

    def copied(self, size: int) -> None:
        self._progress.advance(self._task, size)


@app.command("export", epilog="Example: atalaia tenant export acme /mnt/handover/acme")
def export_tenant(
    tenant: Annotated[str, typer.Argument(help="Whose.")],
    folder: Annotated[Path, typer.Argument(help="Empty, or that of an earlier run to go on with.")],
) -> None:
    """Write rows as JSON Lines, all media, and a manifest with digests. Run again, it goes on."""
    require_tenant(tenant)
    manifest = asyncio.run(_export(tenant, folder))
    log_change("tenant.export", "tenant", tenant, tenant)
    lines = sum(listed.lines for listed in manifest.rows)
    out().print(
        f"{tenant}: {lines:,} rows and {manifest.media.lines:,} files "
        f"({manifest.media_bytes:,} bytes) in {folder}",
        markup=False,
    )
    err().print(f"Next: atalaia tenant verify {folder}", style="dim", markup=False)


async def _export(tenant: str, folder: Path) -> TenantManifest:
    from cluster.portability.export import TenantExport
    from cluster.recording.footage import guarded_blobs
    from cluster.stores.db import Database

    chosen = settings()
    async with Database.of(chosen) as database:
        if all(known.slug != tenant for known in await database.platform().tenants()):
            raise NotFoundError(f"there is no tenant {tenant}.")
        async with await guarded_blobs(chosen.blob_url, tenant, database) as blobs:
            with Progress(*COLUMNS, console=err(), transient=True) as progress:
                clock, bar = SystemClock(), Bar(progress)
                return await TenantExport(folder, database.dump(tenant), blobs, clock, bar).run()


@app.command("verify", epilog="Example: atalaia tenant verify /mnt/handover/acme")
def verify_export(
    folder: Annotated[Path, typer.Argument(help="What `atalaia tenant export` wrote.")],
) -> None:
    """Check every file of an exported tenant. Exit code 2 if one is missing or was changed."""
    from cluster.portability.manifest import verify

    with Progress(*COLUMNS, console=err(), transient=True) as progress:
        task = progress.add_task("media", total=None)
        manifest = verify(folder, lambda size: progress.advance(task, size))
    out().print(
        f"verified: {manifest.tenant}, exported until {manifest.ended_at}, "
        f"{sum(listed.lines for listed in manifest.rows):,} rows, "
        f"{manifest.media.lines:,} files",
        markup=False,
    )
