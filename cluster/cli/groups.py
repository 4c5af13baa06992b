"""`atalaia group`: cameras under one name, to which users and keys of a tenant can be limited, in
the database directly."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from cluster.cli.access import log_change, minute, on_database
from cluster.cli.common import Commands, err, out

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.stores.db import TenantGroups

R = TypeVar("R")

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Create, list, change and remove groups of cameras, to which users and keys can be "
    "limited, in the configured database.",
    epilog="Example: atalaia group create acme entrances --camera gate --camera yard",
)

# A group may have 2,000 cameras; --json lists all.
SHOWN = 8

TenantName = Annotated[str, typer.Argument(help="Whose group.")]
GroupName = Annotated[str, typer.Argument(help="Id of the group.")]
CameraNames = Annotated[
    list[str] | None,
    typer.Option("--camera", help="Id of a camera; may be repeated."),
]


def _on_groups(tenant: str, work: Callable[[TenantGroups], Awaitable[R]]) -> R:
    return on_database(lambda database: work(database.groups(tenant)))


@app.command("create", epilog="Example: atalaia group create acme entrances --camera gate")
def create_group(
    tenant: TenantName,
    group: Annotated[str, typer.Argument(help="Its id: a-z, 0-9 and -, at most 40 characters.")],
    name: Annotated[str | None, typer.Option(help="Display name. Default: the id.")] = None,
    camera: CameraNames = None,
) -> None:
    """Create a group. It limits nobody until a user or key is given it with --group."""
    made = _on_groups(tenant, lambda groups: groups.add(group, name or group, camera or []))
    log_change("group.add", "group", made.id, tenant)
    out().print(f"group {made.id} ({made.name}), cameras: {len(made.cameras)}", markup=False)


@app.command("list", epilog="Example: atalaia group list acme")
def list_groups(
    tenant: TenantName,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the groups of a tenant, and how many users and keys are limited to each."""
    found = _on_groups(tenant, lambda groups: groups.groups())
    if as_json:
        out().print(json.dumps([group.model_dump() for group in found], indent=2), markup=False)
        return
    table = Table(
        *("group", "name", "cameras", "users", "keys", "since"), box=None, header_style="dim"
    )
    for group in found:
        counts = str(group.users), str(group.keys), minute(group.created_us)
        more = len(group.cameras) - SHOWN
        cameras = ", ".join(group.cameras[:SHOWN]) + (f" +{more}" if more > 0 else "")
        table.add_row(group.id, group.name, cameras, *counts)
    out().print(table if found else f"no groups yet; `atalaia group create {tenant} ID` makes one")


@app.command("change", epilog="Example: atalaia group change acme entrances --camera gate")
def change_group(
    tenant: TenantName,
    group: GroupName,
    name: Annotated[str | None, typer.Option(help="Display name.")] = None,
    camera: CameraNames = None,
    empty: Annotated[bool, typer.Option("--no-cameras", help="Take all cameras out.")] = False,
) -> None:
    """Change a group. --camera replaces all cameras that it had."""
    cameras: list[str] | None = [] if empty else camera or None
    changed = _on_groups(tenant, lambda known: known.change(group, name=name, cameras=cameras))
    log_change("group.change", "group", changed.id, tenant)
    err().print("Requests see the change at once, open streams within five seconds.", style="dim")
    out().print(f"changed {changed.id}, cameras: {len(changed.cameras)}", markup=False)


@app.command("remove", epilog="Example: atalaia group remove acme entrances")
def remove_group(tenant: TenantName, group: GroupName) -> None:
    """Remove a group to which nobody is limited."""
    _on_groups(tenant, lambda groups: groups.remove(group))
    log_change("group.remove", "group", group, tenant)
    out().print(f"removed {group}", markup=False)
