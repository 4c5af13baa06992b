"""`/v1/tenants`, `/v1/keys`, `/v1/session`: keys and what they open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from cluster.inference.model_choice import ModelChoice
from pipelines.clock import ManualClock
from serve.api.app import create_app
from tests.integration.api.world import World, problem, served


async def test_a_session_tells_who_one_is(
    acme: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    mine = (await acme.get("/v1/session")).json()
    assert "camera.manage" in mine.pop("permissions")
    assert mine == {
        "kind": "tenant",
        "tenant": "acme",
        "role": "admin",
        "groups": None,
        "user": None,
        "livekit_url": "wss://live.example",
    }
    assert (await platform.get("/v1/session")).json() == {
        "kind": "platform",
        "tenant": None,
        "role": "platform",
        "permissions": [
            "audit.read",
            "erasure.read",
            "key.manage",
            "model.manage",
            "session.read",
            "tenant.manage",
        ],
        "groups": None,
        "user": None,
        "livekit_url": "wss://live.example",
    }


async def test_a_tenant_and_its_key_from_nothing(
    platform: httpx.AsyncClient, world: World, anonymous: httpx.AsyncClient
) -> None:
    made = await platform.post("/v1/tenants", json={"id": "initech", "name": "Initech"})
    assert made.status_code == 201
    assert (await platform.get("/v1/tenants")).json()["tenants"][-1] == made.json()
    problem(await platform.post("/v1/tenants", json={"id": "initech"}), 409, "conflict")

    issued = await platform.post("/v1/keys", json={"tenant": "initech", "label": "control room"})
    assert issued.status_code == 201
    key = issued.json()["key"]

    who = await anonymous.get("/v1/session", headers={"Authorization": f"Bearer {key}"})
    assert who.json()["tenant"] == "initech"
    listed = await platform.get("/v1/keys")
    assert key not in listed.text
    [shown] = [k for k in listed.json()["keys"] if k["tenant"] == "initech"]
    assert shown["id"] == issued.json()["id"]
    assert shown["label"] == "control room"
    assert shown["revoked_at"] is None


async def test_a_revoked_key_stops_within_two_seconds(
    platform: httpx.AsyncClient, world: World
) -> None:
    clock = ManualClock()
    id = world.keys["acme"].split("_")[1]
    headers = {"Authorization": f"Bearer {world.keys['acme']}"}
    app = create_app(replace(world.deps, clock=clock))
    async with (
        served(app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as acme,
    ):
        assert (await acme.get("/v1/session")).status_code == 200

        assert (await platform.delete(f"/v1/keys/{id}")).status_code == 204

        clock.advance(2.0)
        response = await acme.get("/v1/session")
    problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    # Again changes nothing.
    assert (await platform.delete(f"/v1/keys/{id}")).status_code == 204


async def test_another_platform_key(
    platform: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    issued = await platform.post("/v1/keys", json={"tenant": None, "label": "second"})

    headers = {"Authorization": f"Bearer {issued.json()['key']}"}
    assert (await anonymous.get("/v1/keys", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/tenants", {}, 422),
        ("/v1/tenants", {"id": "Not A Slug"}, 422),
        ("/v1/tenants", {"id": "a", "name": "\x1b[31m"}, 422),
        ("/v1/tenants", {"id": "a", "colour": "red"}, 422),
        ("/v1/keys", {"label": "x"}, 422),
        ("/v1/keys", {"tenant": "acme"}, 422),
        ("/v1/keys", {"tenant": "acme", "label": ""}, 422),
        ("/v1/keys", {"tenant": "nobody", "label": "x"}, 404),
        ("/v1/keys", {"tenant": None, "name": "x", "role": "viewer"}, 422),
        ("/v1/keys", {"tenant": "acme", "name": "x", "role": "platform"}, 422),
        ("/v1/keys", {"tenant": "acme", "name": "x", "role": "owner"}, 422),
        ("/v1/keys", {"tenant": "acme", "name": "x", "expires_at": "2001-01-01T00:00:00Z"}, 422),
        ("/v1/keys", {"tenant": "acme", "name": "x", "expires_at": "2999-01-01T00:00:00"}, 422),
    ],
)
async def test_wrong_bodies(
    platform: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
) -> None:
    problem(await platform.post(path, json=body), status)


async def test_revoking_what_is_not_there(platform: httpx.AsyncClient) -> None:
    problem(await platform.delete("/v1/keys/zzzzzzzz"), 404, "not-found")
    problem(await platform.delete("/v1/keys/short"), 422, "invalid-input")


async def test_a_tenant_key_manages_no_tenants(acme: httpx.AsyncClient) -> None:
    for method, path, body in (
        ("GET", "/v1/tenants", None),
        ("POST", "/v1/tenants", {"id": "mine"}),
    ):
        assert problem(await acme.request(method, path, json=body), 403, "forbidden")["hint"]


async def test_the_platform_key_has_no_cameras(platform: httpx.AsyncClient) -> None:
    body = problem(await platform.get("/v1/cameras"), 403, "forbidden")

    assert "tenant's key" in str(body["hint"])


async def test_the_platform_replaces_the_model_and_tenants_cannot(
    world: World, platform: httpx.AsyncClient, acme: httpx.AsyncClient
) -> None:
    replaced = await platform.put("/v1/model", json={"weights": "/models/mine.pt"})
    assert replaced.status_code == 200
    assert replaced.json()["name"] == "mine.pt"
    assert (await platform.get("/v1/model")).json() == replaced.json()
    choice = ModelChoice(world.redis, world.deps.settings.detector.weights)
    assert await choice.current() == "/models/mine.pt"
    problem(await acme.get("/v1/model"), 403, "forbidden")
    problem(await acme.put("/v1/model", json={"weights": "/models/theirs.pt"}), 403, "forbidden")


async def test_a_refused_model_is_told_and_the_old_one_stays(
    world: World, platform: httpx.AsyncClient
) -> None:
    before = (await platform.get("/v1/model")).json()
    refused = problem(
        await platform.put("/v1/model", json={"weights": "notes.txt"}), 422, "invalid-model"
    )
    assert "notes.txt" in refused["detail"]
    assert (await platform.get("/v1/model")).json() == before
    configured = world.deps.settings.detector.weights
    assert await ModelChoice(world.redis, configured).current() == configured
