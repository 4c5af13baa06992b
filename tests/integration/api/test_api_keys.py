"""`/v1/keys` as a tenant's admin has it: roles, expiry, rotation, last use; and no lock-out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.core.settings import Settings
from cluster.stores.db import key_records, new_key
from pipelines.clock import ManualClock
from pipelines.times import rfc3339
from serve.api.auth import CACHE_TTL_S
from tests.integration.api.world import World, logged, open_world, problem


@pytest.fixture
async def manual(settings: Settings, migrated: Path) -> AsyncIterator[tuple[World, ManualClock]]:
    clock = ManualClock()
    async with open_world(settings, migrated, clock) as world:
        yield world, clock


async def issue(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post("/v1/keys", json={"name": "door", "role": "viewer", **body})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/keys/{made['id']}"
    return made


async def works(world: World, key: str) -> bool:
    client = await world.client(None)
    response = await client.get("/v1/session", headers={"Authorization": f"Bearer {key}"})
    return response.status_code == 200


async def test_an_admins_key_is_of_its_own_tenant(
    world: World, acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    made = await issue(acme)
    assert (made["tenant"], made["role"], made["name"]) == ("acme", "viewer", "door")
    assert made["key"].startswith(made["prefix"])
    session = await (await world.client(None)).get(
        "/v1/session", headers={"Authorization": f"Bearer {made['key']}"}
    )
    assert (session.json()["tenant"], session.json()["role"]) == ("acme", "viewer")
    listed = await acme.get("/v1/keys")
    assert made["key"] not in listed.text
    assert made["id"] in {key["id"] for key in listed.json()["keys"]}
    assert {key["tenant"] for key in listed.json()["keys"]} == {"acme"}
    assert made["id"] not in {key["id"] for key in (await globex.get("/v1/keys")).json()["keys"]}


async def test_the_keys_of_another_tenant_are_not_there(
    world: World, acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    theirs = (await issue(globex))["id"]
    of_the_platform = world.keys["platform"].split("_")[1]
    for key in (theirs, of_the_platform):
        problem(await acme.delete(f"/v1/keys/{key}"), 404, "not-found")
        problem(await acme.post(f"/v1/keys/{key}/rotate", json={}), 404, "not-found")
    assert await works(world, world.keys["platform"])


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "role": "viewer", "tenant": "globex"},
        {"name": "x", "role": "viewer", "tenant": None},
        {"name": "x", "role": "platform"},
        {"name": "x"},
        {"role": "viewer"},
        {"name": "x", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"},
    ],
)
async def test_what_an_admin_cannot_issue(acme: httpx.AsyncClient, body: dict[str, Any]) -> None:
    before = (await acme.get("/v1/keys")).json()
    problem(await acme.post("/v1/keys", json=body), 422)
    assert (await acme.get("/v1/keys")).json() == before


async def test_a_key_ends_when_it_expires(manual: tuple[World, ManualClock]) -> None:
    world, clock = manual
    acme = await world.client("acme")
    expires_us = clock.now_us() + 3_600_000_000
    issued = await world.database.keys("acme").keys()
    assert {key.expires_us for key in issued} == {None}
    made = await issue(acme, expires_at=rfc3339(expires_us))
    assert made["expires_at"] == rfc3339(expires_us)
    clock.advance(3_590)
    assert await works(world, made["key"])
    clock.advance(11)
    assert not await works(world, made["key"])
    problem(await acme.post(f"/v1/keys/{made['id']}/rotate", json={}), 409, "conflict")


async def test_after_a_rotation_both_keys_work_for_a_while(
    manual: tuple[World, ManualClock],
) -> None:
    world, clock = manual
    acme = await world.client("acme")
    old = await issue(acme)
    new = (await acme.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 600})).json()
    assert new["id"] != old["id"]
    assert [new[part] for part in ("name", "role", "tenant", "expires_at")] == [
        "door",
        "viewer",
        "acme",
        None,
    ]
    clock.advance(599)
    assert await works(world, old["key"])
    assert await works(world, new["key"])
    clock.advance(1 + CACHE_TTL_S)
    assert not await works(world, old["key"])
    assert await works(world, new["key"])


async def test_a_rotation_without_overlap_ends_the_old_key(
    manual: tuple[World, ManualClock],
) -> None:
    world, clock = manual
    acme = await world.client("acme")
    old = await issue(acme)
    assert await works(world, old["key"])
    await acme.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 0})
    clock.advance(CACHE_TTL_S)
    assert not await works(world, old["key"])


@pytest.mark.parametrize("overlap_s", [-1, 7 * 86_400 + 1, "soon"])
async def test_an_overlap_has_bounds(acme: httpx.AsyncClient, overlap_s: object) -> None:
    made = await issue(acme)
    path = f"/v1/keys/{made['id']}/rotate"
    problem(await acme.post(path, json={"overlap_s": overlap_s}), 422)


async def test_a_revoked_key_is_not_rotated(acme: httpx.AsyncClient) -> None:
    made = await issue(acme)
    assert (await acme.delete(f"/v1/keys/{made['id']}")).status_code == 204
    problem(await acme.post(f"/v1/keys/{made['id']}/rotate", json={}), 409, "conflict")


async def test_the_last_use_is_kept(world: World, acme: httpx.AsyncClient) -> None:
    made = await issue(acme)
    assert made["last_used_at"] is None
    assert await works(world, made["key"])
    await world.state.authenticator.flush()
    [shown] = [k for k in (await acme.get("/v1/keys")).json()["keys"] if k["id"] == made["id"]]
    assert shown["last_used_at"] > made["created_at"]


async def test_what_was_done_to_keys_is_logged(world: World, acme: httpx.AsyncClient) -> None:
    made = await issue(acme)
    new = (await acme.post(f"/v1/keys/{made['id']}/rotate", json={})).json()
    await acme.delete(f"/v1/keys/{new['id']}")

    done = [(e.action, e.object_id) for e in await logged(world, "acme")]
    assert done == [
        ("key.revoke", new["id"]),
        ("key.rotate", made["id"]),
        ("key.issue", made["id"]),
    ]


async def test_junk_keys_lock_out_nobody_behind_the_same_address(world: World) -> None:
    """Good keys that were never seen before, from an address that has sent a hundred wrong ones."""
    client = await world.client(None)
    junk = [
        (await client.get("/v1/session", headers={"Authorization": f"Bearer {new_key()}"}))
        for _ in range(100)
    ]
    assert {response.status_code for response in junk} == {401, 429}
    assert junk[-1].status_code == 429
    for who in ("acme", "acme viewer", "globex", "platform"):
        assert await works(world, world.keys[who])


async def test_keys_come_in_pages(acme: httpx.AsyncClient) -> None:
    everything = (await acme.get("/v1/keys")).json()
    assert everything["next_cursor"] is None
    seen: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 2}
    while query.get("cursor", "") is not None:
        page = (await acme.get("/v1/keys", params=query)).json()
        assert len(page["keys"]) <= 2
        seen += page["keys"]
        query["cursor"] = page["next_cursor"]
    assert seen == everything["keys"]
    problem(await acme.get("/v1/keys", params={"cursor": "x"}), 422)


async def test_a_key_is_replaced_once(acme: httpx.AsyncClient) -> None:
    old = await issue(acme)
    assert old["replaced_by"] is None
    new = (await acme.post(f"/v1/keys/{old['id']}/rotate", json={})).json()
    body = problem(await acme.post(f"/v1/keys/{old['id']}/rotate", json={}), 409, "conflict")
    assert new["id"] in str(body["detail"])
    assert "Rotate that one" in str(body["hint"])
    shown = {key["id"]: key["replaced_by"] for key in (await acme.get("/v1/keys")).json()["keys"]}
    assert (shown[old["id"]], shown[new["id"]]) == (new["id"], None)


async def test_a_tenant_has_so_many_keys_and_no_more(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = len((await acme.get("/v1/keys")).json()["keys"])
    monkeypatch.setattr(key_records, "MAX_WORKING", there + 1)
    made = await issue(acme)
    body = {"name": "door", "role": "viewer"}
    refused = problem(await acme.post("/v1/keys", json=body), 409, "conflict")
    assert "Revoke" in str(refused["hint"])
    await issue(globex)
    assert (await acme.delete(f"/v1/keys/{made['id']}")).status_code == 204
    await issue(acme)
