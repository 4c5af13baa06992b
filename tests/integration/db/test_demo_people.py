"""The demo's users: one of each role in each tenant, who can sign in."""

from __future__ import annotations

import stat
from pathlib import Path

from cluster.core.passwords import verify_password
from cluster.demo.people import demo_users, provision_users
from cluster.stores.db import Database


async def test_users_are_made_once_and_can_sign_in(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "demo-users.json"
    users, fresh = demo_users(path)
    assert fresh
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert demo_users(path) == (users, False)
    assert {tenant: list(by_role) for tenant, by_role in users.items()} == {
        tenant: ["admin", "operator", "analyst", "viewer"] for tenant in ("acme", "globex")
    }
    await provision_users(database, users, fresh=True)
    for tenant, by_role in users.items():
        for role, who in by_role.items():
            found = await database.users(tenant).find(who["email"])
            assert found is not None
            assert found[0].role == role
            assert verify_password(found[1].get_secret_value(), who["password"])

    before = await database.users("acme").find("viewer@acme.example")
    await provision_users(database, users, fresh=False)
    assert await database.users("acme").find("viewer@acme.example") == before


async def test_new_passwords_reach_users_that_exist(database: Database, tmp_path: Path) -> None:
    users, fresh = demo_users(tmp_path / "old.json")
    await provision_users(database, users, fresh=fresh)
    users, fresh = demo_users(tmp_path / "new.json")
    await provision_users(database, users, fresh=fresh)
    found = await database.users("globex").find("admin@globex.example")
    assert found is not None
    assert verify_password(found[1].get_secret_value(), users["globex"]["admin"]["password"])
