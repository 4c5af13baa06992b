"""The demo's users: one of each role in each tenant, with passwords that are made once."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import get_args

from pydantic import SecretStr

from cluster.core.passwords import hash_password
from cluster.core.roles import Role, TenantRole
from cluster.demo.provision import TENANTS
from cluster.local.files import write_private
from cluster.stores.db import Database, UserChanges

ROLES: tuple[Role, ...] = get_args(TenantRole)

Users = dict[str, dict[str, dict[str, str]]]
"""`email` and `password` by tenant and role."""


def demo_users(path: Path) -> tuple[Users, bool]:
    """The users, generated once and stored in `path` (0600); and whether they are new."""
    if path.exists():
        kept: Users = json.loads(path.read_text(encoding="utf-8"))
        if kept.keys() == TENANTS.keys() and all(of.keys() == set(ROLES) for of in kept.values()):
            return kept, False
    users: Users = {
        tenant: {str(role): _user(tenant, role) for role in ROLES} for tenant in TENANTS
    }
    write_private(path, json.dumps(users))
    return users, True


def _user(tenant: str, role: Role) -> dict[str, str]:
    return {"email": f"{role}@{tenant}.example", "password": secrets.token_urlsafe(12)}


async def provision_users(database: Database, users: Users, *, fresh: bool) -> None:
    """Enter the users in the database.

    Args:
        fresh: whether users that exist get these passwords, too. Else they have them already: a
            hash takes 0.2 s, and there are eight.
    """
    for tenant, by_role in users.items():
        records = database.users(tenant)
        for role, who in by_role.items():
            known = await records.find(who["email"])
            if known is not None and not fresh:
                continue
            hashed = SecretStr(await asyncio.to_thread(hash_password, who["password"]))
            if known is None:
                await records.add(who["email"], f"Demo {role}", Role(role), hashed)
            else:
                await records.change(known[0].id, UserChanges(password=hashed))
