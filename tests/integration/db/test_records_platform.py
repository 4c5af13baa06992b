from __future__ import annotations

import pytest

from cluster.stores.db import Database, PlatformRecords, Principal, new_key
from pipelines.clock import ManualClock
from pipelines.errors import ConflictError, InputError, NotFoundError
from tests.factories import make_camera, make_rule


@pytest.fixture
def platform(database: Database) -> PlatformRecords:
    return database.platform()


async def test_ensuring_a_tenant_again_renames_it(
    platform: PlatformRecords, clock: ManualClock
) -> None:
    created = (await platform.tenants())[0].created_us
    clock.advance(1)
    again = await platform.ensure_tenant("acme", "Acme Ltd")
    assert (again.name, again.created_us) == ("Acme Ltd", created)
    assert [t.slug for t in await platform.tenants()] == ["acme", "globex"]
    assert (await platform.tenants())[0] == again
    with pytest.raises(InputError, match="a-z"):
        await platform.ensure_tenant("Not A Slug", "x")


async def test_a_key_finds_its_tenant(platform: PlatformRecords) -> None:
    ours = await platform.create_key("acme", "ci")
    theirs = await platform.create_key("globex", "ci")
    root = await platform.create_key(None, "root")
    assert await platform.find_key(ours.secret) == Principal("acme", ours.id)
    assert await platform.find_key(theirs.secret) == Principal("globex", theirs.id)
    assert await platform.find_key(root.secret) == Principal(None, root.id)
    with pytest.raises(NotFoundError):
        await platform.create_key("nobody", "x")


async def test_what_is_no_key_finds_nobody(platform: PlatformRecords) -> None:
    issued = await platform.create_key("acme", "ci")
    forged = f"atk_{issued.id}_" + "x" * 43
    for secret in ("", "x", new_key(), forged, issued.secret[:-1], issued.secret + "x", issued.id):
        assert await platform.find_key(secret) is None


async def test_only_a_hash_is_kept(platform: PlatformRecords, database: Database) -> None:
    issued = await platform.create_key("acme", "ci")
    secret_part = issued.secret.removeprefix(f"atk_{issued.id}_")
    async with database._engine.connect() as connection:
        rows = (await connection.exec_driver_sql("SELECT * FROM keys")).all()
    assert rows
    assert secret_part not in repr(rows)
    assert secret_part not in repr(await platform.keys())


async def test_a_revoked_key_finds_nobody(platform: PlatformRecords, clock: ManualClock) -> None:
    issued = await platform.create_key("acme", "ci")
    await platform.revoke_key(issued.id)
    first = await platform.keys()
    clock.advance(1)
    await platform.revoke_key(issued.id)
    assert await platform.keys() == first
    assert first[0].revoked_us is not None
    assert await platform.find_key(issued.secret) is None
    with pytest.raises(NotFoundError):
        await platform.revoke_key("missing0")


async def test_importing_a_key(platform: PlatformRecords) -> None:
    secret = new_key()
    key_id = await platform.import_key("acme", secret, "demo")
    assert await platform.import_key("acme", secret, "demo") == key_id
    assert await platform.find_key(secret) == Principal("acme", key_id)
    assert len(await platform.keys()) == 1
    with pytest.raises(ConflictError):
        await platform.import_key("globex", secret, "demo")
    with pytest.raises(ConflictError):
        await platform.import_key("acme", f"atk_{key_id}_" + "x" * 43, "demo")
    with pytest.raises(InputError, match="not a key"):
        await platform.import_key("acme", "demo-key", "demo")
    with pytest.raises(NotFoundError):
        await platform.import_key("nobody", new_key(), "demo")
    await platform.revoke_key(key_id)
    with pytest.raises(ConflictError):
        await platform.import_key("acme", secret, "demo")


async def test_plans_of_all_tenants(platform: PlatformRecords, database: Database) -> None:
    for tenant in ("globex", "acme"):
        records = database.tenant(tenant)
        await records.add_camera(make_camera(tenant, enabled=tenant == "acme"))
        await records.add_rule("gate", make_rule(tenant))
    plans = await platform.plans()
    assert [plan.key for plan in plans] == [("acme", "gate"), ("globex", "gate")]
    assert [[rule.id for rule in plan.rules] for plan in plans] == [["acme"], ["globex"]]
    assert [plan.camera.enabled for plan in plans] == [True, False]
