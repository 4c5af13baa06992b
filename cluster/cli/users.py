"""`atalaia user`: who of a tenant may sign in, in the database directly."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import SecretStr
from rich.table import Table

from cluster.cli.access import GroupNames, RoleName, log_change, minute, on_database, shown_groups
from cluster.cli.common import Commands, err, out
from cluster.core.roles import Role
from pipelines.errors import InputError, NotFoundError

if TYPE_CHECKING:  # SQLAlchemy takes a second, and `atalaia --help` should not wait for it
    from cluster.stores.db import TenantUsers, User

R = TypeVar("R")

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Create, list, change and remove users of a tenant in the configured database.",
    epilog="Example: atalaia user create acme ana@acme.example --role admin",
)

TenantName = Annotated[str, typer.Argument(help="Whose user.")]
UserName = Annotated[str, typer.Argument(help="Id or e-mail address.")]


def _on_users(tenant: str, work: Callable[[TenantUsers], Awaitable[R]]) -> R:
    return on_database(lambda database: work(database.users(tenant)))


async def _found(users: TenantUsers, user: str) -> User:
    if "@" not in user:
        return await users.user(user)
    found = await users.find(user)
    if found is None:
        raise NotFoundError(f"there is no user {user}.", hint="See `atalaia user list`.")
    return found[0]


def _new_password() -> SecretStr:
    """The hash of a password from the terminal, asked twice, or from the first line of stdin."""
    from cluster.core.passwords import check_password, hash_password

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise InputError(
            "there is no password.", hint="Type one, or give it as the first line of stdin."
        )
    check_password(password)
    return SecretStr(hash_password(password))


@app.command("create", epilog="Example: atalaia user create acme ana@acme.example --role admin")
def create_user(
    tenant: TenantName,
    email: Annotated[str, typer.Argument(help="E-mail address to sign in with.")],
    role: Annotated[RoleName, typer.Option(help="What the user may do.")],
    name: Annotated[str | None, typer.Option(help="Default: the e-mail address.")] = None,
    group: GroupNames = None,
) -> None:
    """Create a user. The password is asked for, or is the first line of stdin."""
    hashed = _new_password()
    shown = name or email[:120]
    made = _on_users(
        tenant, lambda users: users.add(email, shown, Role(role), hashed, group or None)
    )
    log_change("user.add", "user", made.id, tenant)
    out().print(f"user {made.id} ({made.email}, {made.role})", markup=False)


@app.command("list", epilog="Example: atalaia user list acme")
def list_users(
    tenant: TenantName,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the users of a tenant."""
    found = _on_users(tenant, lambda users: users.users())
    if as_json:
        out().print(json.dumps([asdict(user) for user in found], indent=2), markup=False)
        return
    table = Table(
        *("user", "e-mail", "name", "role", "cameras", "since", "signed in", ""),
        box=None,
        header_style="dim",
    )
    for user in found:
        times = minute(user.created_us), minute(user.signed_in_us)
        states = [f"signs in at {user.provider}"] if user.provider else []
        state = ", ".join(states + (["disabled"] if user.disabled else []))
        seen = shown_groups(user.groups)
        table.add_row(user.id, user.email, user.name, user.role, seen, *times, state)
    out().print(table if found else f"no users yet; `atalaia user create {tenant}` makes one")


@app.command("change", epilog="Example: atalaia user change acme ana@acme.example --role viewer")
def change_user(
    tenant: TenantName,
    user: UserName,
    role: Annotated[RoleName | None, typer.Option(help="What the user may do.")] = None,
    name: Annotated[str | None, typer.Option(help="Display name.")] = None,
    group: GroupNames = None,
    all_cameras: Annotated[
        bool, typer.Option("--all-cameras", help="No groups: the user sees all cameras.")
    ] = False,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a new one, or read it from stdin.")
    ] = False,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether the user may sign in.")
    ] = None,
) -> None:
    """Change a user. A new password and --disable end the user's sessions."""
    from cluster.stores.db import UserChanges

    if group and all_cameras:
        raise InputError("the user sees either some groups or all cameras.")
    groups = {"groups": tuple(group) if group else None} if group or all_cameras else {}
    changes = UserChanges(
        **groups,
        name=name,
        role=Role(role) if role else None,
        password=_new_password() if password else None,
        disabled=disabled,
    )

    async def change(users: TenantUsers) -> User:
        return await users.change((await _found(users, user)).id, changes)

    changed = _on_users(tenant, change)
    log_change("user.change", "user", changed.id, tenant)
    out().print(f"changed {changed.id} ({changed.email}, {changed.role})", markup=False)


@app.command("remove", epilog="Example: atalaia user remove acme ana@acme.example")
def remove_user(tenant: TenantName, user: UserName) -> None:
    """Remove a user, with all sessions."""

    async def remove(users: TenantUsers) -> str:
        found = await _found(users, user)
        await users.remove(found.id)
        return found.id

    removed = _on_users(tenant, remove)
    log_change("user.remove", "user", removed, tenant)
    err().print("Requests of this user are rejected from now on.", style="dim")
    out().print(f"removed {removed}", markup=False)
