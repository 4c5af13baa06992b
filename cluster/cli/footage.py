"""`atalaia recordings status` and `confirm-loss`: are the files there that the index names?

Both work on database and folder directly, without the API.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.access import on_database
from cluster.cli.common import EXIT_FAILURE, Commands, err, out, settings
from pipelines.clock import SystemClock
from pipelines.errors import InputError

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.stores.blobs.folder import StorageFolder
    from cluster.stores.db import Database
    from pipelines.footage import Census

Tenants = Annotated[
    list[str] | None, typer.Option("--tenant", help="Only of this one; may be repeated.")
]

app = typer.Typer(cls=Commands)
"""Has no name of its own: its commands are merged into those of `cluster.cli.recordings`."""


@app.command(epilog="Example: atalaia recordings status --json")
def status(
    tenant: Tenants = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check that every file in the index exists. Removes nothing. Exit code 1 if the recordings
    folder is empty or not mounted, or if a tenant has lost more than 100 files and more than half
    of all."""
    folder = _folder()
    found = on_database(lambda database: _census(folder, database, tenant))
    marked = folder.is_marked() or not any(census.known for census in found.values())
    if as_json:
        shown = {t: {"known": c.known, "missing": c.missing} for t, c in found.items()}
        report = {"folder": str(folder.path), "ours": marked, "tenants": shown}
        out().print(json.dumps(report, indent=2), markup=False)
    else:
        state = "ours" if marked else "empty, not mounted, or not used yet"
        out().print(f"{folder.path}: {state}", markup=False)
        for name, census in found.items():
            gone = ": nothing is removed" if census.is_loss else ""
            line = f"{name}: {census.missing} of {census.known} files are missing{gone}"
            out().print(line, markup=False)
    if not marked or any(census.is_loss for census in found.values()):
        raise typer.Exit(EXIT_FAILURE)


@app.command("confirm-loss", epilog="Example: atalaia recordings confirm-loss --tenant acme")
def confirm_loss(
    tenant: Tenants = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Confirm that missing files are gone for good: they are dropped from the index, even under a
    legal hold, and the folder is marked as ours again. Cannot be undone: make sure first that the
    disk is mounted."""
    folder = _folder()
    found = on_database(lambda database: _census(folder, database, tenant))
    missing = sum(census.missing for census in found.values())
    known = sum(census.known for census in found.values())
    err().print(f"{folder.path}: {missing} of {known} files are missing.", markup=False)
    if not yes and not typer.confirm("Are they gone for good?"):
        raise typer.Exit(EXIT_FAILURE)
    removed = on_database(lambda database: _forget(folder, database, list(found)))
    out().print(f"{removed} recordings forgotten", markup=False)


def _folder() -> StorageFolder:
    from cluster.stores.blobs.folder import StorageFolder

    folder = StorageFolder.of(settings().blob_url)
    if folder is None:
        raise InputError(
            "the recordings are in no local folder.",
            hint="Object storage says by itself when a bucket is missing.",
        )
    return folder


async def _census(
    folder: StorageFolder, database: Database, wanted: list[str] | None
) -> dict[str, Census]:
    """Raises InputError: there is no such tenant."""
    from cluster.recording.footage import FootageGuard

    tenants = await database.platform().at_home()
    if unknown := set(wanted or ()) - set(tenants):
        raise InputError(f"there is no tenant {min(unknown)} here.")
    guard = FootageGuard(folder, database.platform().at_home, database.recordings)
    return {tenant: await guard.census(tenant) for tenant in wanted or tenants}


async def _forget(folder: StorageFolder, database: Database, tenants: list[str]) -> int:
    from cluster.recording.loss import forget_missing

    removed = 0
    for tenant in tenants:
        removed += await forget_missing(folder, tenant, database, SystemClock())
    await asyncio.to_thread(folder.mark)
    return removed
