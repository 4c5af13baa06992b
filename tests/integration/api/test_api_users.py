"""`/v1/users`: an admin manages who of its tenant may sign in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr

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
    assert (await acme.get("/v1/users")).json() == {"users": [view], "next_cursor": None}
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
    assert (await acme.get("/v1/users")).json() == {"users": [], "next_cursor": None}


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


async def test_users_come_in_pages(world: World, acme: httpx.AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await world.database.users("acme").add(f"{name}@acme", name, Role.VIEWER, SecretStr("x"))
    first = (await acme.get("/v1/users", params={"limit": 2})).json()
    assert [user["name"] for user in first["users"]] == ["c", "a"]
    query = {"limit": 2, "cursor": first["next_cursor"]}
    last = (await acme.get("/v1/users", params=query)).json()
    assert [user["name"] for user in last["users"]] == ["b"]
    assert last["next_cursor"] is None
    problem(await acme.get("/v1/users", params={"cursor": "x"}), 422)
    problem(await acme.get("/v1/users", params={"limit": 0}), 422)


# ------------------------------------------------------------ one's own password

OTHER = "another horse battery"


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def test_a_user_changes_the_own_password(world: World, anonymous: httpx.AsyncClient) -> None:
    ana = await add_user(world, "acme", Role.VIEWER, "ana")
    here, elsewhere = [(await sign_in(anonymous, ana)).json() for _ in range(2)]
    body = {"current": PASSWORD, "new": OTHER}
    changed = await anonymous.post("/v1/auth/password", json=body, headers=bearer(here))
    assert changed.status_code == 204
    # This session goes on, the other one does not.
    renew = [{"refresh_token": tokens["refresh_token"]} for tokens in (here, elsewhere)]
    answers = [await anonymous.post("/v1/auth/refresh", json=one) for one in renew]
    assert [answer.status_code for answer in answers] == [200, 401]
    problem(await sign_in(anonymous, ana), 401)
    assert (await sign_in(anonymous, ana, password=OTHER)).status_code == 200
    log = [e for e in await logged(world, "acme") if e.action == "user.change"]
    assert [(e.actor, e.object_id, e.outcome) for e in log] == [(ana.actor, ana.id, "done")]
    assert log[0].details == {"fields": ["password"]}


async def test_wrong_passwords_are_refused_slowed_and_logged(
    world: World, anonymous: httpx.AsyncClient
) -> None:
    ana = await add_user(world, "acme", Role.VIEWER, "ana")
    tokens = (await sign_in(anonymous, ana)).json()

    async def change(**body: str) -> httpx.Response:
        whole = {"current": PASSWORD, "new": OTHER} | body
        return await anonymous.post("/v1/auth/password", json=whole, headers=bearer(tokens))

    for weak in ("short", "x" * 20, PASSWORD):
        problem(await change(new=weak), 422)
    for _ in range(5):
        problem(await change(current="wrong horse battery"), 403, "forbidden")
    slowed = problem(await change(), 429, "too-many-requests")
    assert "Wait" in str(slowed["hint"])
    # Nobody is locked out by it, and the session goes on.
    assert (await sign_in(anonymous, ana)).status_code == 200
    assert (await anonymous.get("/v1/session", headers=bearer(tokens))).status_code == 200
    log = [e for e in await logged(world, "acme") if e.action == "user.change"]
    assert {(e.actor, e.outcome) for e in log} == {(ana.actor, "refused")}
    assert OTHER not in str(log)


@pytest.mark.parametrize("who", ["acme", "platform"])
async def test_a_key_has_no_password(world: World, who: str) -> None:
    client = await world.client(who)
    body = {"current": PASSWORD, "new": OTHER}
    problem(await client.post("/v1/auth/password", json=body), 403, "forbidden")
    problem(await (await world.client(None)).post("/v1/auth/password", json=body), 401)
