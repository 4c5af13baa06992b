"""`atalaia tenant`, `key` and `migrate`: work on the database directly, without the API."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.table import Table

from cluster.cli.common import Commands, err, out, settings, show_error
from cluster.core.roles import Role
from pipelines.clock import SystemClock
from pipelines.errors import AtalaiaError, InputError
from pipelines.times import to_us

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.stores.db import Database, IssuedKey, PlatformRecords

RoleName = Literal["admin", "operator", "analyst", "viewer"]
GroupNames = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        help="Id of a camera group, whose cameras are then all that there is; may be repeated. "
        "Without it: all cameras.",
    ),
]
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
MAX_OVERLAP_S = 7 * 86_400

R = TypeVar("R")

tenants = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Create and list tenants in the configured database.",
    epilog="Example: atalaia tenant create acme --name 'Acme Security'",
)
keys = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Create, list, rotate and revoke API keys in the configured database.",
    epilog="Example: atalaia key create acme",
)


def on_database(work: Callable[[Database], Awaitable[R]]) -> R:
    """Do something in the configured database."""
    from cluster.stores.db import Database

    async def run() -> R:
        async with Database.of(settings()) as database:
            return await work(database)

    return asyncio.run(run())


def _on_records(work: Callable[[PlatformRecords], Awaitable[R]]) -> R:
    return on_database(lambda database: work(database.platform()))


def log_change(action: str, kind: str, object_id: str, tenant: str | None) -> None:
    """Write a change into the audit logs of the platform and of the tenant concerned. By then the
    change is made, so a failure is reported and does not fail the command."""
    from cluster.stores.audit.events import PLATFORM_CHAIN, AuditAction, AuditEvent

    event = AuditEvent(
        at_us=SystemClock().now_us(),
        actor="system:cli",
        action=AuditAction(action),
        object_kind=kind,
        object_id=object_id,
        details={"tenant": tenant, "uid": os.getuid()},
    )

    async def write(database: Database) -> None:
        for chain in sorted({PLATFORM_CHAIN, tenant or PLATFORM_CHAIN}):
            await database.audit_chain(chain).append([event])

    try:
        on_database(write)
    except AtalaiaError as error:
        err().print("done, but not in the audit log:", style="yellow")
        show_error(error)


def shown_groups(groups: tuple[str, ...] | None) -> str:
    """Which cameras somebody sees: the groups, or all."""
    return "all" if groups is None else ", ".join(groups)


def minute(at_us: int | None) -> str:
    """A time for people; empty where there is none."""
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d %H:%M}Z" if at_us else ""


def migrate() -> None:
    """Migrate the database schema to the current version. `atalaia up` does this automatically."""

    from cluster.stores import db

    async def run() -> tuple[str | None, str | None, int]:
        url = settings().migration_url
        before = await db.current(url)
        await db.migrate(url)
        async with db.Database.of(settings()) as database:
            return before, await db.current(url), await database.secrets().plain()

    before, after, plain = asyncio.run(run())
    if before == after:
        out().print(f"the database is up to date ({after})")
    else:
        out().print(f"the database was migrated from {before or 'empty'} to {after}")
    if plain:
        err().print(f"The URLs of {plain} cameras are not encrypted.", style="yellow")
        err().print("Next: atalaia database re-encrypt", style="dim")


@tenants.command("create", epilog="Example: atalaia tenant create acme --name 'Acme Security'")
def create_tenant(
    tenant: Annotated[str, typer.Argument(help="Its id: a-z, 0-9 and -, at most 40 characters.")],
    name: Annotated[str | None, typer.Option(help="Display name. Default: the id.")] = None,
) -> None:
    """Create a tenant, or rename an existing one."""
    made = _on_records(lambda platform: platform.ensure_tenant(tenant, name or tenant))
    log_change("tenant.add", "tenant", made.slug, made.slug)
    out().print(f"tenant {made.slug} ({made.name})", markup=False)
    err().print(f"Next: atalaia key create {made.slug}", style="dim")


@tenants.command("list", epilog="Example: atalaia tenant list")
def list_tenants(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List every tenant."""
    found = _on_records(lambda platform: platform.tenants())
    if as_json:
        out().print(json.dumps([tenant.model_dump() for tenant in found], indent=2), markup=False)
        return
    table = Table("tenant", "name", "since", box=None, header_style="dim")
    for tenant in found:
        table.add_row(tenant.slug, tenant.name, minute(tenant.created_us))
    out().print(table if found else "no tenants yet; `atalaia tenant create ID` makes one")


@keys.command("create", epilog="Example: export ATALAIA_KEY=$(atalaia key create acme)")
def create_key(
    tenant: Annotated[str | None, typer.Argument(help="Whose key; none with --platform.")] = None,
    platform: Annotated[bool, typer.Option("--platform", help="For the platform itself.")] = False,
    name: Annotated[
        str, typer.Option("--name", "--label", help="What it is for.")
    ] = "made by the command line",
    role: Annotated[RoleName | None, typer.Option(help="What it may do. Default: admin.")] = None,
    group: GroupNames = None,
    expires_at: Annotated[
        datetime | None,
        typer.Option(help="When it ends, in UTC. Default: never.", formats=MOMENTS),
    ] = None,
) -> None:
    """Create a key. Its secret is printed to stdout once; only a hash of it is stored."""
    if platform == (tenant is not None):
        raise InputError(
            "a key belongs either to a tenant or to the platform.",
            hint="Use `atalaia key create TENANT` or `atalaia key create --platform`.",
        )
    expires_us = to_us(expires_at.replace(tzinfo=UTC)) if expires_at is not None else None
    issued = _on_records(
        lambda known: known.create_key(
            tenant, name, Role(role) if role else None, expires_us, group or None
        )
    )
    _show_key(issued)
    log_change("key.issue", "key", issued.id, tenant)


@keys.command("list", epilog="Example: atalaia key list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List every key, without its secret."""
    found = _on_records(lambda platform: platform.keys())
    if as_json:
        rows = [asdict(key) | {"name": key.label} for key in found]
        out().print(json.dumps(rows, indent=2), markup=False)
        return
    table = Table(
        *("key", "of", "role", "cameras", "name", "since", "expires", "last used", "revoked"),
        box=None,
        header_style="dim",
    )
    for key in found:
        times = (key.created_us, key.expires_us, key.last_used_us, key.revoked_us)
        owner = key.tenant or "(platform)"
        seen = shown_groups(key.groups) if key.tenant else ""
        table.add_row(key.id, owner, key.role, seen, key.label, *(minute(at) for at in times))
    out().print(table if found else "no keys yet; `atalaia key create TENANT` makes one")


@keys.command("rotate", epilog="Example: atalaia key rotate 3kd82hs9 --overlap-s 3600")
def rotate_key(
    key: Annotated[str, typer.Argument(help="Its id, from `atalaia key list`.")],
    overlap_s: Annotated[
        int, typer.Option(min=0, max=MAX_OVERLAP_S, help="How long the old key still works.")
    ] = 3600,
) -> None:
    """Replace a key by one with the same name, role, groups and expiry."""
    issued = _on_records(lambda known: known.rotate_key(key, overlap_s * 1_000_000))
    _show_key(issued)
    log_change("key.rotate", "key", key, issued.info.tenant)


@keys.command("revoke", epilog="Example: atalaia key revoke 3kd82hs9")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Its id, from `atalaia key list`.")],
) -> None:
    """Revoke a key. Requests with it are rejected from now on."""
    tenant = _on_records(lambda platform: platform.revoke_key(key))
    log_change("key.revoke", "key", key, tenant)
    out().print(f"revoked {key}", markup=False)


def _show_key(issued: IssuedKey) -> None:
    owner = issued.info.tenant or "the platform"
    err().print(f"key {issued.id} of {owner}; save it now, it is shown only once:")
    out().print(issued.secret, markup=False)
