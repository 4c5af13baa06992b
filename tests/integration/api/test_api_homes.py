"""Who lives in a cluster of their own, or moves there, is told so; nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cluster.core.settings import PodSettings, Settings
from pipelines.clock import ManualClock
from pipelines.moving import MovePhase
from serve.api.auth import CACHE_TTL_S
from tests.integration.api.world import World, open_world, problem

URL = "https://acme.example"


@pytest.fixture
async def manual(settings: Settings, migrated: Path) -> AsyncIterator[tuple[World, ManualClock]]:
    pods = {"acme_pod": PodSettings(url=URL, tenants=("acme", "umbrella"))}
    clock = ManualClock()
    async with open_world(settings.model_copy(update={"pods": pods}), migrated, clock) as world:
        yield world, clock


async def login(client: httpx.AsyncClient, tenant: str) -> httpx.Response:
    body = {"tenant": tenant, "email": "ana@example.org", "password": "correct horse battery"}
    return await client.post("/v1/auth/login", json=body)


async def test_a_moving_tenant_waits_and_a_moved_one_is_sent_on(
    manual: tuple[World, ManualClock],
) -> None:
    world, clock = manual
    acme, globex = await world.client("acme"), await world.client("globex")
    anonymous = await world.client(None)
    moves = world.database.moves("r1")
    # Placed there by the settings, but not moved yet: it is served here.
    assert (await acme.get("/v1/cameras")).status_code == 200
    assert (await login(anonymous, "acme")).status_code == 401

    await moves.leave("acme", "acme_pod")
    clock.advance(CACHE_TTL_S + 1)
    for answer in (await acme.get("/v1/cameras"), await login(anonymous, "acme")):
        assert problem(answer, 503)["code"] == "tenant-moving"
        assert "Retry-After" in answer.headers
    principal = await world.database.platform().find_key(world.keys["acme"])
    assert principal is not None
    assert principal.credential is not None
    working = await world.database.credentials().principals([principal.credential])
    assert working == {}  # open streams and rooms end

    await moves.advance("acme", MovePhase.CLOSED)
    await moves.advance("acme", MovePhase.MOVED)
    for answer in (await acme.get("/v1/cameras"), await login(anonymous, "acme")):
        found = problem(answer, 421)
        assert (found["code"], found["url"]) == ("tenant-elsewhere", URL)
    assert (await globex.get("/v1/cameras")).status_code == 200


async def test_who_never_lived_here_is_sent_on_at_sign_in(
    manual: tuple[World, ManualClock],
) -> None:
    world, _ = manual
    anonymous = await world.client(None)
    assert problem(await login(anonymous, "umbrella"), 421)["url"] == URL
    assert problem(await login(anonymous, "nobody"), 401)["code"] == "unauthorized"


async def test_a_move_that_is_called_off_lets_everybody_back_in(
    manual: tuple[World, ManualClock],
) -> None:
    world, clock = manual
    acme = await world.client("acme")
    moves = world.database.moves("r1")
    await moves.leave("acme", "acme_pod")
    assert (await acme.get("/v1/cameras")).status_code == 503
    await moves.advance("acme", None)
    clock.advance(CACHE_TTL_S + 1)
    assert (await acme.get("/v1/cameras")).status_code == 200


@pytest.mark.parametrize("phase", [MovePhase.DRAINING, MovePhase.CLOSED, MovePhase.MOVED])
async def test_an_alarm_stream_ends_when_its_tenant_moves(
    manual: tuple[World, ManualClock], phase: MovePhase
) -> None:
    world, clock = manual
    acme, moves = await world.client("acme"), world.database.moves("r1")
    phases = list(MovePhase)
    async with acme.stream("GET", "/v1/alarms/stream") as stream:
        await moves.leave("acme", "acme_pod")
        for further in phases[1 : phases.index(phase) + 1]:
            await moves.advance("acme", further)
        async with asyncio.timeout(60):
            ended = asyncio.ensure_future(stream.aread())
            while not ended.done():
                clock.advance(CACHE_TTL_S + 1)
                await asyncio.sleep(0.1)
            await ended
