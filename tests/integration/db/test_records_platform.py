from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from cluster.core.roles import Role
from cluster.stores.db import Database, IssuedKey, PlatformRecords, Principal, key_records, new_key
from cluster.stores.db.models import CameraRow, RuleRow
from cluster.stores.db.sessions import Sessions
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
    assert await platform.find_key(ours.secret) == Principal("acme", Role.ADMIN, f"key:{ours.id}")
    assert await platform.find_key(theirs.secret) == Principal(
        "globex", Role.ADMIN, f"key:{theirs.id}"
    )
    assert await platform.find_key(root.secret) == Principal(None, Role.PLATFORM, f"key:{root.id}")
    with pytest.raises(NotFoundError):
        await platform.create_key("nobody", "x")


async def test_a_key_has_a_role_that_is_its_owners(platform: PlatformRecords) -> None:
    viewer = await platform.create_key("acme", "wall", Role.VIEWER)
    assert await platform.find_key(viewer.secret) == Principal(
        "acme", Role.VIEWER, f"key:{viewer.id}"
    )
    for tenant, role in (("acme", Role.PLATFORM), (None, Role.ADMIN)):
        with pytest.raises(InputError, match="platform"):
            await platform.create_key(tenant, "x", role)


async def test_many_keys_are_found_at_once(platform: PlatformRecords) -> None:
    ours, theirs, gone = [
        await platform.create_key(tenant, "ci") for tenant in ("acme", "globex", "acme")
    ]
    await platform.revoke_key(gone.id)
    forged = f"atk_{ours.id}_" + "x" * 43
    found = await platform.find_keys(
        [ours.secret, forged, theirs.secret, gone.secret, new_key(), "x"]
    )
    assert {key: who.tenant for key, who in found.items()} == {
        ours.secret: "acme",
        theirs.secret: "globex",
    }


async def test_a_tenants_keys_are_its_own(database: Database, platform: PlatformRecords) -> None:
    keys = database.keys("acme")
    ours = await keys.issue("door", Role.OPERATOR)
    theirs = await platform.create_key("globex", "ci")
    assert [key.id for key in await keys.keys()] == [ours.id]
    for change in (keys.revoke_key(theirs.id), keys.rotate_key(theirs.id, 0)):
        with pytest.raises(NotFoundError):
            await change
    with pytest.raises(InputError, match="platform"):
        await keys.issue("x", Role.PLATFORM)


async def test_a_key_works_until_it_expires(platform: PlatformRecords, clock: ManualClock) -> None:
    expires_us = clock.now_us() + 10_000_000
    issued = await platform.create_key("acme", "ci", Role.VIEWER, expires_us)
    clock.advance(9)
    assert await platform.find_key(issued.secret)
    clock.advance(1)
    assert await platform.find_key(issued.secret) is None
    with pytest.raises(InputError, match="past"):
        await platform.create_key("acme", "ci", Role.VIEWER, expires_us)


async def test_a_rotation_never_lengthens_a_key(
    platform: PlatformRecords, clock: ManualClock
) -> None:
    expires_us = clock.now_us() + 10_000_000
    old = await platform.create_key("acme", "ci", Role.VIEWER, expires_us)
    new = await platform.rotate_key(old.id, 60_000_000)
    assert (new.info.expires_us, new.info.role, new.info.label) == (expires_us, "viewer", "ci")
    shown = {key.id: (key.expires_us, key.replaced_by) for key in await platform.keys()}
    assert shown == {old.id: (expires_us, new.id), new.id: (expires_us, None)}
    third = await platform.rotate_key(new.id, 3_000_000)
    clock.advance(3)
    assert await platform.find_key(new.secret) is None
    assert await platform.find_key(third.secret)
    for ended in (new.id, third.id):
        if ended == third.id:
            await platform.revoke_key(third.id)
        with pytest.raises(ConflictError):
            await platform.rotate_key(ended, 0)


async def test_a_key_is_replaced_once(platform: PlatformRecords, clock: ManualClock) -> None:
    """Another one would have the end of the overlap as its own."""
    old = await platform.create_key("acme", "ci")
    rotated = await asyncio.gather(
        *(platform.rotate_key(old.id, 60_000_000) for _ in range(3)), return_exceptions=True
    )
    [new] = [one for one in rotated if isinstance(one, IssuedKey)]
    refused = [one for one in rotated if isinstance(one, ConflictError)]
    assert len(refused) == 2
    assert new.id in str(refused[0])
    assert new.info.expires_us is None
    # Where its secret was lost:
    third = await platform.rotate_key(new.id, 0)
    assert third.info.expires_us is None
    assert await platform.find_key(new.secret) is None
    assert await platform.find_key(old.secret)


async def test_keys_come_in_pages(
    database: Database, platform: PlatformRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were issued at the same time."""
    made = {(await platform.create_key("acme", "ci")).id for _ in range(5)}
    theirs = await platform.create_key("globex", "ci")
    keys = database.keys("acme")
    found, cursor = await keys.page(2)
    pages = [found]
    while cursor is not None:
        found, cursor = await keys.page(2, cursor)
        pages.append(found)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {key.id for page in pages for key in page} == made
    monkeypatch.setattr(key_records, "PAGE", 2)
    assert {key.id for key in await platform.keys()} == made | {theirs.id}
    with pytest.raises(InputError, match="cursor"):
        await keys.page(2, "x")


async def test_there_are_not_more_keys_than_may_be(
    database: Database, platform: PlatformRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_records, "MAX_WORKING", 3)
    keys = database.keys("acme")
    made = await asyncio.gather(
        *(keys.issue("x", Role.VIEWER) for _ in range(5)), return_exceptions=True
    )
    good = [one for one in made if isinstance(one, IssuedKey)]
    assert len(good) == 3
    assert sum(isinstance(one, ConflictError) for one in made) == 2
    await platform.create_key("globex", "theirs")
    await platform.create_key(None, "root")
    # Replaced at once, because then as many work as before.
    with pytest.raises(ConflictError, match="no more"):
        await keys.rotate_key(good[0].id, 60_000_000)
    await keys.rotate_key(good[0].id, 0)
    await keys.revoke_key(good[1].id)
    await keys.issue("again", Role.VIEWER)


async def test_keys_that_have_ended_are_forgotten(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_records, "MAX_ENDED", 2)
    keys = database.keys("acme")
    stays = await keys.issue("stays", Role.VIEWER)
    ended = []
    for _ in range(4):
        ended.append((await keys.issue("x", Role.VIEWER)).id)
        clock.advance(1)
        await keys.revoke_key(ended[-1])
    expired = await keys.issue("expired", Role.VIEWER, clock.now_us() + 1_000_000)
    clock.advance(2)
    last = await keys.issue("last", Role.VIEWER)
    left = {key.id for key in await keys.keys()}
    assert left == {stays.id, ended[-1], expired.id, last.id}
    clock.advance(366 * 86_400)
    new = await keys.issue("new", Role.VIEWER)
    assert {key.id for key in await keys.keys()} == {stays.id, last.id, new.id}


async def test_the_last_use_only_moves_on(platform: PlatformRecords) -> None:
    issued = await platform.create_key("acme", "ci")
    for at_us in (5, 9, 7):
        await platform.note_uses({issued.id: at_us, "missing0": at_us})
    assert [key.last_used_us for key in await platform.keys()] == [9]


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
    assert await platform.find_key(secret) == Principal("acme", Role.ADMIN, f"key:{key_id}")
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


async def test_a_row_that_is_not_valid_stops_no_other(
    platform: PlatformRecords, database: Database
) -> None:
    """Somebody wrote past the application: the camera says so and is not pulled, a rule is left
    out."""
    for tenant in ("acme", "globex"):
        await database.tenant(tenant).add_camera(make_camera(tenant))
        for rule in ("good", "odd"):
            await database.tenant(tenant).add_rule("gate", make_rule(rule))
    async with Sessions(database._engine, "acme").write() as session:
        await session.execute(update(CameraRow).values(recording={"mode": "odd"}))
    async with Sessions(database._engine, "globex").write() as session:
        odd = update(RuleRow).where(RuleRow.id == "odd")
        await session.execute(odd.values(body={"kind": "of tomorrow"}))
    acme, globex = await platform.plans()
    assert [found.field for found in acme.camera.unreadable] == ["recording"]
    assert globex.camera.unreadable == ()
    assert [rule.id for rule in globex.rules] == ["good"]
    assert [camera.id for camera in await database.tenant("acme").cameras()] == ["gate"]


async def test_quotas_that_are_set_at_once_do_not_collide(platform: PlatformRecords) -> None:
    wanted = [{"cameras": number, "jobs": number} for number in range(1, 9)]
    await asyncio.gather(*(platform.set_quotas("acme", quotas) for quotas in wanted))
    assert await platform.quotas("acme") in wanted
    await platform.set_quotas("globex", {"jobs": 3})
    assert (await platform.own_quotas("jobs"))["globex"] == 3
    assert await platform.own_quotas("rules") == {}
    with pytest.raises(NotFoundError):
        await platform.set_quotas("nobody", {"jobs": 3})
