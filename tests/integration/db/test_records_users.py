"""Users and their sessions in the records."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.core.roles import Role
from cluster.stores.db import Database, Principal, User, UserChanges
from cluster.stores.db import users as records
from cluster.stores.db.user_sessions import MAX_SESSIONS, Renewal
from cluster.stores.db.users import normal_email
from pipelines.clock import ManualClock
from pipelines.errors import ConflictError, InputError, NotFoundError

HASH = SecretStr("$argon2id$not-looked-at-here")
HOUR_US = 3_600_000_000


@pytest.fixture
async def ana(database: Database) -> User:
    return await database.users("acme").add("Ana@Acme.Example ", "Ana", Role.OPERATOR, HASH)


async def begins(database: Database, user: User, session: str, kept: SecretStr = HASH) -> bool:
    until_us = database._clock.now_us() + HOUR_US
    return await database.sessions("acme").begin(user.id, kept, session, "d0", until_us)


async def begin(
    database: Database, user: User, session: str = "s-1", kept: SecretStr = HASH
) -> None:
    assert await begins(database, user, session, kept)


# ------------------------------------------------------------ users


async def test_a_user_is_found_by_any_spelling_of_the_address(
    database: Database, ana: User
) -> None:
    users = database.users("acme")
    assert ana.email == "ana@acme.example"
    assert await users.users() == [ana]
    assert await users.user(ana.id) == ana
    for spelling in ("ana@acme.example", "ANA@ACME.EXAMPLE", "  Ana@acme.example"):
        assert await users.find(spelling) == (ana, HASH)
    assert await users.find("bob@acme.example") is None


async def test_an_address_is_one_user_of_a_tenant(database: Database, ana: User) -> None:
    with pytest.raises(ConflictError, match="e-mail"):
        await database.users("acme").add("ana@ACME.example", "x", Role.VIEWER, HASH)
    theirs = await database.users("globex").add("ana@acme.example", "x", Role.VIEWER, HASH)
    assert theirs.id != ana.id
    with pytest.raises(NotFoundError):
        await database.users("nobody").add("ana@acme.example", "x", Role.VIEWER, HASH)


@pytest.mark.parametrize(
    "email", ["", "ana", "@acme", "ana@", "a b@acme", "a\n@b", "a" * 260 + "@b"]
)
async def test_what_is_no_address(database: Database, email: str) -> None:
    with pytest.raises(InputError, match="e-mail"):
        await database.users("acme").add(email, "x", Role.VIEWER, HASH)


async def test_users_of_another_tenant_are_not_there(database: Database, ana: User) -> None:
    globex = database.users("globex")
    assert await globex.users() == []
    assert await globex.find(ana.email) is None
    for work in (globex.user(ana.id), globex.change(ana.id, UserChanges()), globex.remove(ana.id)):
        with pytest.raises(NotFoundError):
            await work
    await globex.keep_hash(ana.id, HASH, SecretStr("theirs"))
    assert await database.users("acme").find(ana.email) == (ana, HASH)


async def test_what_is_not_changed_stays(database: Database, ana: User) -> None:
    users = database.users("acme")
    await users.add("bob@acme.example", "Bob", Role.ADMIN, HASH)
    changed = await users.change(ana.id, UserChanges(role=Role.ADMIN))
    assert (changed.role, changed.name, changed.disabled) == (Role.ADMIN, "Ana", False)
    changed = await users.change(ana.id, UserChanges(name="Anna", disabled=True))
    assert (changed.role, changed.name, changed.disabled) == (Role.ADMIN, "Anna", True)
    assert (await users.find(ana.email)) == (changed, HASH)
    for role_of_the_platform in (
        users.change(ana.id, UserChanges(role=Role.PLATFORM)),
        users.add("b@acme", "b", Role.PLATFORM, HASH),
    ):
        with pytest.raises(InputError, match="platform"):
            await role_of_the_platform


async def test_users_come_in_pages(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = database.users("acme")
    made = []
    for name in ("c", "a", "b"):
        made.append((await users.add(f"{name}@acme", name, Role.VIEWER, HASH)).email)
        clock.advance(1)
    await database.users("globex").add("d@globex", "d", Role.VIEWER, HASH)
    first, cursor = await users.page(2)
    assert cursor is not None
    last, end = await users.page(2, cursor)
    assert [user.email for user in first + last] == made
    assert end is None
    monkeypatch.setattr(records, "PAGE", 1)
    assert [user.email for user in await users.users()] == sorted(made)
    with pytest.raises(InputError, match="cursor"):
        await users.page(2, "x")


async def test_there_are_not_more_users_than_may_be(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_USERS", 3)
    users = database.users("acme")
    made = await asyncio.gather(
        *(users.add(f"u{n}@acme", f"u{n}", Role.VIEWER, HASH) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, ConflictError) for one in made) == 2
    assert len(await users.users()) == 3
    await database.users("globex").add("u@globex", "u", Role.VIEWER, HASH)


ENDS = {
    "demote": UserChanges(role=Role.VIEWER),
    "disable": UserChanges(disabled=True),
    "remove": None,
}


@pytest.mark.parametrize("adopted", [True, False])
async def test_a_provider_does_not_take_the_last_admin_away(
    database: Database, adopted: bool
) -> None:
    users = database.users("acme")

    async def sign_in(role: Role) -> User:
        return await users.from_provider(
            "corp", "subject-1", "ana@acme.example", "Ana", role, adopt=True
        )

    if adopted:
        await users.add("ana@acme.example", "Ana", Role.ADMIN, HASH)
    else:
        await sign_in(Role.ADMIN)
    with pytest.raises(ConflictError, match="last admin"):
        await sign_in(Role.VIEWER)
    (kept,) = await users.users()
    assert kept.role is Role.ADMIN
    assert kept.provider == (None if adopted else "corp")
    assert (await sign_in(Role.ADMIN)).id == kept.id
    await users.add("b@acme.example", "b", Role.ADMIN, HASH)
    assert (await sign_in(Role.VIEWER)).role is Role.VIEWER


@pytest.mark.parametrize("how", ENDS)
async def test_two_admins_cannot_end_each_other(database: Database, how: str) -> None:
    users = database.users("acme")
    both = [await users.add(f"{name}@acme", name, Role.ADMIN, HASH) for name in ("a", "b")]
    await database.users("globex").add("c@globex", "c", Role.ADMIN, HASH)
    await database.keys("acme").issue("door", Role.OPERATOR)
    await database.keys("globex").issue("theirs", Role.ADMIN)
    changes = ENDS[how]

    async def end(user: User) -> None:
        if changes is None:
            await users.remove(user.id)
        else:
            await users.change(user.id, changes)

    ended = await asyncio.gather(*map(end, both), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["ConflictError", "NoneType"]
    left = [u for u in await users.users() if u.role is Role.ADMIN and not u.disabled]
    assert len(left) == 1
    # A name and a password of the last one may change, and with a key of an admin all may.
    await users.change(left[0].id, UserChanges(name="last", password=SecretStr("$argon2id$x")))
    await database.keys("acme").issue("admin", Role.ADMIN)
    await end(left[0])


async def test_a_key_that_has_ended_is_no_admin(database: Database, clock: ManualClock) -> None:
    users, keys = database.users("acme"), database.keys("acme")
    last = await users.add("a@acme", "a", Role.ADMIN, HASH)
    await keys.issue("short", Role.ADMIN, clock.now_us() + 1_000_000)
    revoked = await keys.issue("revoked", Role.ADMIN)
    await keys.revoke_key(revoked.id)
    clock.advance(1)
    with pytest.raises(ConflictError, match="last admin"):
        await users.remove(last.id)


async def test_a_password_that_its_user_replaces_ends_the_other_sessions(
    database: Database, ana: User
) -> None:
    users, sessions = database.users("acme"), database.sessions("acme")
    new = SecretStr("$argon2id$the-new-one")
    for session in ("s-1", "s-2", "s-3"):
        await begin(database, ana, session)
    assert await users.replace_password(ana.id, HASH, new, "s-2")
    assert await users.find(ana.email) == (await users.user(ana.id), new)
    assert [await sessions.principal(s) is not None for s in ("s-1", "s-2", "s-3")] == [
        False,
        True,
        False,
    ]
    # What was checked is the password no more.
    assert not await users.replace_password(ana.id, HASH, SecretStr("$argon2id$x"), "s-2")
    await users.change(ana.id, UserChanges(disabled=True))
    assert not await users.replace_password(ana.id, new, SecretStr("$argon2id$x"), "s-2")
    assert not await database.users("globex").replace_password(ana.id, new, HASH, "s-2")


# ------------------------------------------------------------ sessions


async def test_no_session_comes_of_a_password_that_was_changed_while_it_was_checked(
    database: Database, ana: User
) -> None:
    users, sessions = database.users("acme"), database.sessions("acme")
    new = SecretStr("$argon2id$the-new-one")
    await users.change(ana.id, UserChanges(password=new))
    assert not await begins(database, ana, "s-1")
    await users.change(ana.id, UserChanges(disabled=True))
    assert not await begins(database, ana, "s-1", new)
    await users.change(ana.id, UserChanges(disabled=False))
    assert await sessions.principal("s-1") is None
    assert await begins(database, ana, "s-1", new)
    await users.remove(ana.id)
    assert not await begins(database, ana, "s-1", new)


async def test_a_better_hash_does_not_undo_a_change_of_the_password(
    database: Database, ana: User
) -> None:
    users = database.users("acme")
    new = SecretStr("$argon2id$the-new-one")
    await users.change(ana.id, UserChanges(password=new))
    await users.keep_hash(ana.id, HASH, SecretStr("$argon2id$the-old-one-again"))
    assert (await users.find(ana.email)) == (ana, new)
    better = SecretStr("$argon2id$the-new-one-again")
    await users.keep_hash(ana.id, new, better)
    assert (await users.find(ana.email)) == (ana, better)


@given(st.text(max_size=30))
def test_the_form_in_which_addresses_are_kept_stays(text: str) -> None:
    assert normal_email(normal_email(text)) == normal_email(text)
    assert normal_email("stra\u00df\u0301e@acme") == normal_email("STRASS\u0301E@acme")


async def test_each_refresh_token_works_once(database: Database, ana: User) -> None:
    sessions = database.sessions("acme")
    await begin(database, ana)
    assert await sessions.renew("s-1", 0, "d0", "d1") is Renewal.DONE
    assert await sessions.renew("s-1", 1, "d1", "d2") is Renewal.DONE
    assert await sessions.principal("s-1") == Principal("acme", Role.OPERATOR, ana.actor, "s-1")


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_one_that_comes_back_ends_the_family(
    database: Database, ana: User, which: int
) -> None:
    sessions = database.sessions("acme")
    await begin(database, ana)
    await begin(database, ana, "s-2")
    for n in range(3):
        assert await sessions.renew("s-1", n, f"d{n}", f"d{n + 1}") is Renewal.DONE
    assert await sessions.renew("s-1", which, f"d{which}", "evil") is Renewal.REUSED
    assert await sessions.principal("s-1") is None
    assert await sessions.renew("s-1", 3, "d3", "d4") is Renewal.GONE
    assert await sessions.renew("s-1", which, f"d{which}", "evil") is Renewal.GONE
    assert await sessions.principal("s-2"), "another session of the same user goes on"


async def test_of_two_at_once_one_wins_and_the_session_ends(database: Database, ana: User) -> None:
    sessions = database.sessions("acme")
    await begin(database, ana)
    both = await asyncio.gather(*(sessions.renew("s-1", 0, "d0", f"new{n}") for n in range(2)))
    assert sorted(both) == [Renewal.DONE, Renewal.REUSED]
    assert await sessions.principal("s-1") is None


async def test_a_token_that_was_never_the_newest_renews_nothing(
    database: Database, ana: User
) -> None:
    sessions = database.sessions("acme")
    await begin(database, ana)
    for generation, digest in ((0, "forged"), (1, "d0"), (7, "d0")):
        assert await sessions.renew("s-1", generation, digest, "x") is Renewal.GONE
    assert await sessions.principal("s-1")
    assert await sessions.renew("missing", 0, "d0", "d1") is Renewal.GONE


async def test_a_session_ends_by_time_by_hand_and_with_its_user(
    database: Database, ana: User, clock: ManualClock
) -> None:
    sessions, users = database.sessions("acme"), database.users("acme")
    other = SecretStr("other")
    for n in range(4):
        await begin(database, ana, f"s-{n}")
    assert await sessions.end("s-0")
    assert not await sessions.end("s-0")
    assert await sessions.principal("s-0") is None
    assert await sessions.principal("s-1")
    await users.change(ana.id, UserChanges(name="Anna", role=Role.VIEWER))
    assert await sessions.principal("s-1") == Principal("acme", Role.VIEWER, ana.actor, "s-1")
    await users.change(ana.id, UserChanges(password=other))
    assert await sessions.principal("s-1") is None
    await begin(database, ana, "s-5", other)
    await users.change(ana.id, UserChanges(disabled=True))
    assert await sessions.principal("s-5") is None
    await users.change(ana.id, UserChanges(disabled=False))
    assert await sessions.principal("s-5") is None, "it does not come back"
    await begin(database, ana, "s-6", other)
    clock.advance(3_600)
    assert await sessions.principal("s-6") is None
    assert await sessions.renew("s-6", 0, "d0", "d1") is Renewal.GONE
    await begin(database, ana, "s-7", other)
    await users.remove(ana.id)
    assert await sessions.principal("s-7") is None
    assert not await begins(database, ana, "s-8", other)


async def test_sessions_of_another_tenant_are_not_there(database: Database, ana: User) -> None:
    await begin(database, ana)
    globex = database.sessions("globex")
    assert await globex.principal("s-1") is None
    assert not await globex.end("s-1")
    assert await globex.renew("s-1", 0, "d0", "d1") is Renewal.GONE
    assert await database.sessions("acme").renew("s-1", 0, "d0", "d1") is Renewal.DONE


async def test_sessions_of_a_user_are_bounded(
    database: Database, ana: User, clock: ManualClock
) -> None:
    sessions = database.sessions("acme")
    for n in range(MAX_SESSIONS + 2):
        await begin(database, ana, f"s-{n}")
        clock.advance(0.001)
    alive = [n for n in range(MAX_SESSIONS + 2) if await sessions.principal(f"s-{n}") is not None]
    assert alive == list(range(2, MAX_SESSIONS + 2))
