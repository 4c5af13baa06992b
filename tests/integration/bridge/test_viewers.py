"""Who may watch no longer is removed from the rooms of a real LiveKit server, and stays out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from livekit import rtc
from pydantic import SecretStr

from cluster.bridge.bridge import Bridge
from cluster.core.roles import Role
from cluster.media.viewer_ids import ViewerIds
from cluster.stores.db import Database, IssuedKey, Principal, UserChanges, migrate
from cluster.stores.db.user_sessions import Renewal
from pipelines.domain import CameraKey
from serve.api.join import viewer_token
from tests.integration.bridge.world import PATIENCE_S, Servers, until
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip

GATE, DOOR = CameraKey("acme", "gate"), CameraKey("acme", "door")
THEIRS = CameraKey("globex", "gate")
TOKEN_S = 300
HASH = SecretStr("$argon2id$not-looked-at-here")


@dataclass
class Person:
    """Somebody in a room. `token`: with what they joined; LiveKit renews it."""

    token: str
    room: rtc.Room
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    renewed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def renewed_token(self) -> str:
        token = self.room._token
        assert token is not None
        assert token != self.token
        return token

    async def is_gone(self) -> None:
        """Within some two seconds where the machine has time."""
        async with asyncio.timeout(PATIENCE_S):
            await self.gone.wait()


class Site:
    """Two tenants' cameras in their rooms, and who looks at them."""

    def __init__(self, servers: Servers, bridge: Bridge, database: Database) -> None:
        self.servers = servers
        self.bridge = bridge
        self.database = database
        self._livekit = servers.settings.livekit
        self._ids = ViewerIds(self._livekit.api_secret)
        self._stack = contextlib.AsyncExitStack()

    async def join(self, key: CameraKey, principal: Principal) -> Person:
        """As the API lets somebody watch."""
        identity = self._ids.new(principal.holder)
        return await self.enter(viewer_token(self._livekit, key.room, identity, TOKEN_S))

    async def enter(self, token: str) -> Person:
        """Join with a token, whatever it is."""
        person = Person(token, rtc.Room())
        person.room.on("disconnected", lambda *_: person.gone.set())
        person.room.on("token_refreshed", lambda *_: person.renewed.set())
        await person.room.connect(self._livekit.url, token)
        self._stack.push_async_callback(person.room.disconnect)
        return person

    async def key(self, tenant: str, role: Role = Role.VIEWER) -> tuple[IssuedKey, Principal]:
        issued = await self.database.keys(tenant).issue("a wall of screens", role)
        principal = await self.database.platform().find_key(issued.secret)
        assert principal is not None
        return issued, principal

    async def session(self, name: str) -> Principal:
        """A user of acme who has signed in."""
        users = self.database.users("acme")
        user = await users.add(f"{name}@acme.example", name, Role.VIEWER, HASH)
        sessions = self.database.sessions("acme")
        until_us = time.time_ns() // 1000 + 3_600_000_000
        assert await sessions.begin(user.id, HASH, f"s-{name}", "d0", until_us)
        principal = await sessions.principal(f"s-{name}")
        assert principal is not None
        return principal

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def site(servers: Servers, bridge: Bridge, clip: Clip) -> AsyncIterator[Site]:
    url = servers.settings.database_url
    (servers.settings.data_dir / "data").mkdir(exist_ok=True)
    await migrate(url)
    async with Database(url) as database, RtspCamera(clip).serving() as camera:
        for tenant in ("acme", "globex"):
            await database.platform().ensure_tenant(tenant, tenant)
        await bridge.sync(
            tuple(
                [
                    await servers.assignment(key, SecretStr(camera.url()))
                    for key in (GATE, DOOR, THEIRS)
                ]
            )
        )
        await until("in the rooms", lambda: all(c.in_room for c in bridge.status().cameras))
        here = Site(servers, bridge, database)
        try:
            yield here
        finally:
            await here.aclose()


async def test_a_revoked_key_ends_its_views_and_no_others(site: Site) -> None:
    issued, wall = await site.key("acme")
    _, other = await site.key("acme")
    _, theirs = await site.key("globex")
    ana = await site.session("ana")
    gate, door = await site.join(GATE, wall), await site.join(DOOR, wall)
    stay = [
        await site.join(GATE, other),
        await site.join(GATE, ana),
        await site.join(THEIRS, theirs),
    ]
    async with asyncio.timeout(PATIENCE_S):
        await gate.renewed.wait()
    # All are looked at, several times.
    await asyncio.sleep(2)
    assert not any(person.gone.is_set() for person in (gate, door, *stay))

    await site.database.keys("acme").revoke_key(issued.id)
    await gate.is_gone()
    await door.is_gone()

    # With the token of the API, and with the one that LiveKit made of it.
    for token in (gate.token, gate.renewed_token):
        again = await site.enter(token)
        await again.is_gone()
        assert len(again.room.remote_participants) <= 3
    assert not any(person.gone.is_set() for person in stay)
    left = {identity.partition("-")[0] for identity in await site.servers.identities(GATE)}
    assert left == {"camera", "viewer"}
    assert all(camera.in_room for camera in site.bridge.status().cameras)


async def ended(site: Site, how: str, ana: Principal) -> None:
    users, sessions = site.database.users("acme"), site.database.sessions("acme")
    user = ana.actor.removeprefix("user:")
    match how:
        case "sign out":
            assert await sessions.end("s-ana")
        case "reuse":
            assert await sessions.renew("s-ana", 0, "d0", "d1") is Renewal.DONE
            assert await sessions.renew("s-ana", 0, "d0", "d2") is Renewal.REUSED
        case "disable":
            await users.change(user, UserChanges(disabled=True))
        case "role":
            await users.change(user, UserChanges(role=Role.OPERATOR))
        case "remove":
            await users.remove(user)
        case _:
            raise AssertionError(how)


async def test_what_ends_a_session_ends_its_views(site: Site) -> None:
    bob = await site.join(GATE, await site.session("bob"))
    for how in ("sign out", "reuse", "disable", "role", "remove"):
        ana = await site.session("ana")
        person = await site.join(GATE, ana)
        await ended(site, how, ana)
        await person.is_gone()
        if how != "remove":
            await site.database.users("acme").remove(ana.actor.removeprefix("user:"))
    assert not bob.gone.is_set()


async def test_a_key_that_is_replaced_ends_its_views_after_the_overlap(site: Site) -> None:
    issued, wall = await site.key("acme")
    person = await site.join(GATE, wall)
    await site.database.keys("acme").rotate_key(issued.id, 2_000_000)
    assert not person.gone.is_set()
    await person.is_gone()


async def test_a_view_of_another_tenant_s_room_ends(site: Site) -> None:
    """No token of ours is for one; this one was made with the secret itself."""
    _, principal = await site.key("acme")
    person = await site.join(THEIRS, principal)
    await person.is_gone()
