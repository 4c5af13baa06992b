"""Links and downloads end with the key or the session that asked for them, in every replica."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import jwt
import pytest

from cluster.core.holders import Credential, CredentialKind, Holder
from cluster.core.roles import Role
from cluster.core.settings import Settings
from cluster.media.viewer_ids import ViewerIds
from cluster.stores.db import Principal, UserChanges
from pipelines.clock import ManualClock
from serve.api.app import create_app
from serve.api.holding import CACHE_TTL_S
from tests.factories import make_camera
from tests.integration.api.world import World, add_user, open_world, problem, served, sign_in

KEY = "clips/1.mp4"
CONTENT = b"0123456789"
# More than the sockets between server and client hold.
LARGE = 48 * 1024 * 1024


@pytest.fixture
async def manual(settings: Settings, migrated: Path) -> AsyncIterator[tuple[World, ManualClock]]:
    clock = ManualClock()
    async with open_world(settings, migrated, clock) as world:
        await world.blobs("acme").put(KEY, CONTENT)
        yield world, clock


def link_for(world: World, principal: Principal) -> str:
    return world.state.evidence.links.link("acme", KEY, "video/mp4", by=principal)


async def of_key(world: World, role: Role = Role.VIEWER) -> tuple[str, Principal]:
    """The id of a new key of acme, and who has it."""
    issued = await world.database.keys("acme").issue("door", role)
    principal = await world.database.platform().find_key(issued.secret)
    assert principal is not None
    return issued.id, principal


async def revoke(world: World, key: str, _: str) -> None:
    acme = await world.client("acme")
    assert (await acme.delete(f"/v1/keys/{key}")).status_code == 204


async def rotate(world: World, key: str, _: str) -> None:
    acme = await world.client("acme")
    rotated = await acme.post(f"/v1/keys/{key}/rotate", json={"overlap_s": 0})
    assert rotated.status_code == 201


async def sign_out(world: World, _: str, refresh: str) -> None:
    anonymous = await world.client(None)
    assert (
        await anonymous.post("/v1/auth/logout", json={"refresh_token": refresh})
    ).status_code == 204


async def reuse(world: World, _: str, refresh: str) -> None:
    anonymous = await world.client(None)
    for status in (200, 401):
        used = await anonymous.post("/v1/auth/refresh", json={"refresh_token": refresh})
        assert used.status_code == status


async def disable(world: World, user: str, _: str) -> None:
    await world.database.users("acme").change(user, UserChanges(disabled=True))


async def promote(world: World, user: str, _: str) -> None:
    await world.database.users("acme").change(user, UserChanges(role=Role.OPERATOR))


async def remove(world: World, user: str, _: str) -> None:
    await world.database.users("acme").remove(user)


End = Callable[[World, str, str], Awaitable[None]]


@pytest.mark.parametrize("end", [revoke, rotate])
async def test_a_link_ends_with_its_key_in_every_replica(
    manual: tuple[World, ManualClock], end: End
) -> None:
    world, clock = manual
    key, principal = await of_key(world)
    _, other = await of_key(world)
    link, stays = link_for(world, principal), link_for(world, other)
    async with served(create_app(world.deps)) as second, httpx.AsyncClient(timeout=30) as client:
        replicas = (world.url, second)
        for base in replicas:
            assert (await client.get(base + link)).content == CONTENT
        await end(world, key, "")
        clock.advance(CACHE_TTL_S)
        for base in replicas:
            body = problem(await client.get(base + link), 403, "forbidden")
            assert "ended" in str(body["detail"])
            assert (await client.head(base + link)).status_code == 403
            assert (await client.get(base + stays)).content == CONTENT


@pytest.mark.parametrize("end", [sign_out, reuse, disable, promote, remove])
async def test_a_link_ends_with_its_session(manual: tuple[World, ManualClock], end: End) -> None:
    world, clock = manual
    ana = await add_user(world, "acme", Role.VIEWER, "ana")
    anonymous = await world.client(None)
    tokens = (await sign_in(anonymous, ana)).json()
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    principal = await world.database.sessions("acme").principal(claims["sid"])
    assert principal is not None
    link = link_for(world, principal)
    assert (await anonymous.get(link)).content == CONTENT
    await end(world, ana.id, tokens["refresh_token"])
    clock.advance(CACHE_TTL_S)
    problem(await anonymous.get(link), 403, "forbidden")


async def test_a_link_outlives_the_access_token_but_not_itself(
    manual: tuple[World, ManualClock],
) -> None:
    """Sessions go on when an access token ends, and so do their links."""
    world, clock = manual
    ana = await add_user(world, "acme", Role.VIEWER, "ana")
    anonymous = await world.client(None)
    tokens = (await sign_in(anonymous, ana)).json()
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    clock.advance(world.deps.settings.auth.access_token_ttl_s - 1)
    principal = await world.database.sessions("acme").principal(claims["sid"])
    assert principal is not None
    link = link_for(world, principal)
    clock.advance(2)
    problem(
        await anonymous.get(
            "/v1/session", headers={"Authorization": f"Bearer {tokens['access_token']}"}
        ),
        401,
    )
    assert (await anonymous.get(link)).content == CONTENT


async def test_a_download_ends_with_its_key(manual: tuple[World, ManualClock]) -> None:
    world, clock = manual
    await world.blobs("acme").put(KEY, bytes(LARGE))
    key, principal = await of_key(world)
    anonymous = await world.client(None)
    async with anonymous.stream("GET", link_for(world, principal)) as response:
        assert int(response.headers["content-length"]) == LARGE
        pieces = response.aiter_raw()
        await anext(pieces)
        await world.database.keys("acme").revoke_key(key)
        clock.advance(CACHE_TTL_S)
        with pytest.raises(httpx.RemoteProtocolError):
            await rest(pieces)


async def rest(pieces: AsyncIterator[bytes]) -> int:
    """The bytes that still come."""
    return sum([len(piece) async for piece in pieces])


async def test_a_place_in_a_room_names_who_asked_for_it(
    world: World, acme: httpx.AsyncClient
) -> None:
    """To us, and nobody else: `tests/integration/bridge/test_viewers.py` has what comes of it."""
    await world.database.tenant("acme").add_camera(make_camera())
    answer = (await acme.post("/v1/cameras/gate/join")).json()
    identity = jwt.decode(answer["token"], options={"verify_signature": False})["sub"]
    id = world.keys["acme"].split("_")[1]
    assert id not in identity
    holder = ViewerIds(world.deps.settings.livekit.api_secret).read(identity)
    assert holder == Holder(Credential("acme", CredentialKind.KEY, id), "admin")
