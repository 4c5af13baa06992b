"""`/v1/users`: an admin manages who of its tenant may sign in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from cluster.core.roles import Role
from tests.integration.api.world import PASSWORD, World, add_user, logged, problem, sign_in

NEW = {"email": "Ana@acme.example", "name": "Ana", "role": "operator", "password": PASSWORD}


async def test_a_user_from_the_first_day_to_the_last(
    world: World, acme: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await acme.post("/v1/users", json=NEW)
    assert made.status_code == 201
    view = made.json()
    path = made.headers["location"]
    assert path == f"/v1/users/{view['id']}"
    assert (
        view.items()
        >= {
            "email": "ana@acme.example",
            "name": "Ana",
            "role": "operator",
            "disabled": False,
            "signed_in_at": None,
        }.items()
    )
    assert (await acme.get(path)).json() == view
    assert (await acme.get("/v1/users")).json() == {"users": [view]}
    problem(await acme.post("/v1/users", json=NEW), 409, "conflict")
    user = await world.database.users("acme").user(view["id"])
    assert (await sign_in(anonymous, user)).status_code == 200

    other = "another horse battery"
    changed = await acme.patch(path, json={"role": "admin", "password": other})
    assert (changed.json()["role"], changed.json()["name"]) == ("admin", "Ana")
    problem(await sign_in(anonymous, user), 401)
    assert (await sign_in(anonymous, user, password=other)).status_code == 200

    assert (await acme.delete(path)).status_code == 204
    problem(await acme.get(path), 404, "not-found")
    problem(await sign_in(anonymous, user, password=other), 401)
    log = [e for e in await logged(world, "acme") if e.action.startswith("user.")]
    assert [(e.action, e.object_id, e.outcome) for e in log] == [
        ("user.remove", view["id"], "done"),
        ("user.change", view["id"], "done"),
        ("user.add", "", "refused"),
        ("user.add", view["id"], "done"),
    ]
    assert log[1].details == {"fields": ["password", "role"]}
    assert PASSWORD not in str(log)


@pytest.mark.parametrize(
    "change",
    [
        {"email": "ana"},
        {"email": "a\u0000@b"},
        {"role": "platform"},
        {"role": None},
        {"password": "short"},
        {"password": "x" * 20},
        {"name": "\u001b[31m"},
        {"tenant": "globex"},
    ],
)
async def test_wrong_users(acme: httpx.AsyncClient, change: dict[str, Any]) -> None:
    problem(await acme.post("/v1/users", json=NEW | change), 422)
    assert (await acme.get("/v1/users")).json() == {"users": []}


async def test_an_admin_cannot_shut_itself_out(world: World, acme: httpx.AsyncClient) -> None:
    boss = await add_user(world, "acme", Role.ADMIN, "boss")
    client = await world.client(None)
    token = (await sign_in(client, boss)).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    path = f"/v1/users/{boss.id}"
    problem(await client.patch(path, json={"role": "viewer"}), 409, "conflict")
    problem(await client.patch(path, json={"disabled": True}), 409, "conflict")
    problem(await client.delete(path), 409, "conflict")
    assert (await client.patch(path, json={"name": "Boss", "role": "admin"})).status_code == 200
    assert (await acme.delete(path)).status_code == 204
