"""Who is removed from a room, and who stays. The records are a dictionary here, LiveKit a list;
`tests/integration/bridge/test_viewers.py` has the real ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.bridge.guard import AGAIN_AFTER_S, GuardedRoom, ViewerGuard, Watching, may_stay
from cluster.core.holders import Credential, CredentialKind, Holder
from cluster.core.roles import Role
from cluster.media.viewer_ids import ViewerIds
from cluster.stores.db import Principal
from pipelines.clock import ManualClock
from pipelines.errors import UnavailableError

GATE, DOOR = GuardedRoom("acme", "acme.gate"), GuardedRoom("acme", "acme.door")
UNMASKED = GuardedRoom("acme", "acme.gate.unmasked")
FOREIGN = GuardedRoom("globex", "globex.gate")
IDS = ViewerIds(SecretStr("s" * 32))
ANA = Principal("acme", Role.VIEWER, "user:ana", "s-ana")
BOB = Principal("acme", Role.OPERATOR, "user:bob", "s-bob")
KEY = Principal("acme", Role.VIEWER, "key:3kd82hs9")
EVERYBODY = (ANA, BOB, KEY)


class Site:
    """Rooms, records and LiveKit in one."""

    def __init__(self) -> None:
        self.rooms: dict[GuardedRoom, list[str]] = {GATE: ["camera", "watcher"], DOOR: ["camera"]}
        self.stays: dict[str, int] = {}
        self.removals = 0
        self.late = False
        self.clock = ManualClock()
        self.working = {principal.credential: principal for principal in EVERYBODY}
        self.asked: list[set[Credential]] = []
        self.away = False
        self.refuses: set[str] = set()
        self.guard = ViewerGuard(IDS, self.people, self.find, self, self.clock)

    def people(self) -> dict[GuardedRoom, dict[str, str]]:
        return {
            key: {one: f"{key.name} {one} {self.stays.get(one, 0)}" for one in people}
            for key, people in self.rooms.items()
        }

    def join(self, key: GuardedRoom, principal: Principal) -> str:
        identity = IDS.new(principal.holder)
        self.rooms.setdefault(key, []).append(identity)
        return identity

    async def find(self, wanted: Collection[Credential]) -> Mapping[Credential, Principal]:
        self.asked.append(set(wanted))
        if self.away:
            raise UnavailableError("the records are away")
        return {one: self.working[one] for one in wanted if one in self.working}

    async def remove(self, room: str, identity: str) -> None:
        if identity in self.refuses:
            raise UnavailableError("LiveKit is away")
        self.removals += 1
        if self.late:
            return
        [there] = [people for key, people in self.rooms.items() if key.name == room]
        there.remove(identity)


@pytest.fixture
def site() -> Site:
    return Site()


async def test_one_whose_session_is_over_is_removed_everywhere_and_nobody_else(site: Site) -> None:
    for key in (GATE, DOOR, UNMASKED):
        for principal in EVERYBODY:
            site.join(key, principal)
    await site.guard.look()
    assert [len(people) for people in site.rooms.values()] == [5, 4, 3]
    del site.working[ANA.credential]
    await site.guard.look()
    left = [IDS.read(identity) for identity in site.rooms[GATE][2:]]
    assert left == [BOB.holder, KEY.holder]
    assert site.rooms[GATE][:2] == ["camera", "watcher"]
    assert [IDS.read(identity) for identity in site.rooms[DOOR][1:]] == left
    assert [IDS.read(identity) for identity in site.rooms[UNMASKED]] == left


async def test_one_who_comes_back_is_removed_again(site: Site) -> None:
    identity = site.join(GATE, ANA)
    del site.working[ANA.credential]
    for _ in range(3):
        await site.guard.look()
        assert identity not in site.rooms[GATE]
        site.rooms[GATE].append(identity)
        site.stays[identity] = site.stays.get(identity, 0) + 1


async def test_one_who_is_listed_for_a_while_longer_is_removed_once(
    site: Site,
) -> None:
    site.join(GATE, ANA)
    del site.working[ANA.credential]
    site.late = True
    for _ in range(5):
        await site.guard.look()
    assert site.removals == 1
    # LiveKit said so, but it was not true.
    site.late = False
    site.clock.advance(AGAIN_AFTER_S)
    await site.guard.look()
    assert site.rooms[GATE] == ["camera", "watcher"]


async def test_another_role_ends_what_was_given_for_the_one_before(site: Site) -> None:
    identity = site.join(GATE, BOB)
    site.working[BOB.credential] = Principal("acme", Role.VIEWER, "user:bob", "s-bob")
    again = site.join(GATE, site.working[BOB.credential])
    await site.guard.look()
    assert identity not in site.rooms[GATE]
    assert again in site.rooms[GATE]


async def test_other_groups_end_what_was_given_for_the_ones_before(site: Site) -> None:
    """Whoever is limited to other cameras joins anew; the order of groups means nothing."""
    limited = replace(BOB, groups=("north", "south"))
    site.working[BOB.credential] = limited
    identity = site.join(GATE, limited)
    site.working[BOB.credential] = replace(BOB, groups=("south", "north"))
    await site.guard.look()
    assert identity in site.rooms[GATE]
    for groups in (("north",), None):
        site.working[BOB.credential] = replace(BOB, groups=groups)
        await site.guard.look()
        assert identity not in site.rooms[GATE]


async def test_nobody_watches_in_another_tenant_s_room(site: Site) -> None:
    identity = site.join(FOREIGN, ANA)
    await site.guard.look()
    assert identity not in site.rooms[FOREIGN]


@pytest.mark.parametrize("identity", ["viewer-", "viewer-0d9f6a0e", "viewer-" + "A" * 90])
async def test_one_whom_nobody_knows_is_removed(site: Site, identity: str) -> None:
    """A token of an earlier version, or made with a secret that was replaced."""
    site.rooms[GATE].append(identity)
    await site.guard.look()
    assert site.rooms[GATE] == ["camera", "watcher"]
    assert site.asked == []


async def test_all_are_asked_for_at_once_and_nothing_where_nobody_watches(site: Site) -> None:
    await site.guard.look()
    assert site.asked == []
    for principal in EVERYBODY:
        site.join(GATE, principal)
        site.join(DOOR, principal)
    await site.guard.look()
    assert site.asked == [{principal.credential for principal in EVERYBODY}]


async def test_records_that_are_away_remove_nobody(site: Site) -> None:
    identity = site.join(GATE, ANA)
    del site.working[ANA.credential]
    site.away = True
    with pytest.raises(UnavailableError):
        await site.guard.look()
    assert identity in site.rooms[GATE]
    site.away = False
    await site.guard.look()
    assert identity not in site.rooms[GATE]


async def test_one_removal_that_fails_holds_up_no_other_and_is_repeated(site: Site) -> None:
    first, second = site.join(GATE, ANA), site.join(GATE, ANA)
    del site.working[ANA.credential]
    site.refuses.add(first)
    await site.guard.look()
    assert first in site.rooms[GATE]
    assert second not in site.rooms[GATE]
    site.refuses.clear()
    await site.guard.look()
    assert site.rooms[GATE] == ["camera", "watcher"]


CREDENTIALS = st.builds(
    Credential,
    st.sampled_from(["acme", "globex"]),
    st.sampled_from(CredentialKind),
    st.sampled_from(["a", "b"]),
)
RIGHTS = st.sampled_from(["viewer", "admin"])


@given(
    CREDENTIALS,
    RIGHTS,
    st.sampled_from([GATE, FOREIGN]),
    st.dictionaries(CREDENTIALS, RIGHTS),
)
def test_only_who_still_has_what_was_given_stays(
    credential: Credential, rights: str, key: GuardedRoom, now: dict[Credential, str]
) -> None:
    working = {
        one: Principal(
            one.tenant,
            Role(role),
            f"key:{one.id}" if one.kind is CredentialKind.KEY else "user:u",
            None if one.kind is CredentialKind.KEY else one.id,
        )
        for one, role in now.items()
    }
    viewer = Watching(key, "viewer-x", "stay", Holder(credential, rights))
    expected = credential.tenant == key.tenant and now.get(credential) == rights
    assert may_stay(viewer, working) is expected
