"""Which keys and sessions still work, asked for by their ids."""

from __future__ import annotations

from pydantic import SecretStr

from cluster.core.holders import Credential, CredentialKind
from cluster.core.roles import Role
from cluster.stores.db import Database, Principal, UserChanges
from cluster.stores.db.credentials import MAX_BATCH
from pipelines.clock import ManualClock

HASH = SecretStr("$argon2id$not-looked-at-here")
HOUR_US = 3_600_000_000


def key(tenant: str | None, id: str) -> Credential:
    return Credential(tenant, CredentialKind.KEY, id)


def session(tenant: str, id: str) -> Credential:
    return Credential(tenant, CredentialKind.SESSION, id)


async def begin(database: Database, tenant: str, id: str, role: Role = Role.VIEWER) -> str:
    """A session of a new user, by id; returns the user's."""
    user = await database.users(tenant).add(f"{id}@a.example", id, role, HASH)
    until_us = database._clock.now_us() + HOUR_US
    assert await database.sessions(tenant).begin(user.id, HASH, id, "d0", until_us)
    return user.id


async def test_those_that_work_are_found(database: Database, clock: ManualClock) -> None:
    keys = database.keys("acme")
    good = await keys.issue("good", Role.OPERATOR)
    revoked = await keys.issue("revoked", Role.VIEWER)
    short = await keys.issue("short", Role.VIEWER, clock.now_us() + 1_000_000)
    root = await database.platform().create_key(None, "root")
    await keys.revoke_key(revoked.id)
    credentials = database.credentials()
    wanted = [key("acme", issued.id) for issued in (good, revoked, short)]
    wanted += [
        key("globex", good.id),
        key(None, good.id),
        key(None, root.id),
        key("acme", "nobody00"),
    ]
    expected = {
        key("acme", good.id): Principal("acme", Role.OPERATOR, f"key:{good.id}"),
        key(None, root.id): Principal(None, Role.PLATFORM, f"key:{root.id}"),
    }
    in_time = {key("acme", short.id): Principal("acme", Role.VIEWER, f"key:{short.id}")}
    assert await credentials.principals(wanted) == expected | in_time
    clock.advance(1)
    assert await credentials.principals(wanted) == expected
    assert await credentials.principals([]) == {}


async def test_sessions_end_with_themselves_and_with_their_user(
    database: Database, clock: ManualClock
) -> None:
    users = database.users("acme")
    ids = {name: await begin(database, "acme", name) for name in ("a", "b", "c", "d", "e")}
    wanted = [session("acme", name) for name in ids]

    async def left() -> set[str]:
        return {one.id for one in await database.credentials().principals(wanted)}

    assert await left() == set("abcde")
    await database.sessions("acme").end("a")
    await users.change(ids["b"], UserChanges(disabled=True))
    await users.remove(ids["c"])
    assert await left() == {"d", "e"}
    await users.change(ids["d"], UserChanges(role=Role.ANALYST))
    found = await database.credentials().principals(wanted)
    assert found[session("acme", "d")] == Principal("acme", Role.ANALYST, f"user:{ids['d']}", "d")
    clock.advance(3_600)
    assert await left() == set()


async def test_two_tenants_may_have_sessions_of_the_same_id(database: Database) -> None:
    ours = await begin(database, "acme", "same")
    theirs = await begin(database, "globex", "same", Role.ADMIN)
    credentials = database.credentials()
    assert await credentials.principals([session("globex", "same")]) == {
        session("globex", "same"): Principal("globex", Role.ADMIN, f"user:{theirs}", "same")
    }
    await database.sessions("globex").end("same")
    assert await credentials.principals([session("acme", "same"), session("globex", "same")]) == {
        session("acme", "same"): Principal("acme", Role.VIEWER, f"user:{ours}", "same")
    }


async def test_many_are_asked_for_in_parts(database: Database) -> None:
    issued = await database.keys("acme").issue("good", Role.VIEWER)
    many = {key("acme", f"x{n:07d}") for n in range(2 * MAX_BATCH)}
    wanted = many | {key("acme", issued.id)}
    assert set(await database.credentials().principals(wanted)) == {key("acme", issued.id)}
