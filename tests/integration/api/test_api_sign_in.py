"""`/v1/auth`: signing in, renewing, signing out; and what strangers cannot do there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from cluster.core.roles import Role
from cluster.core.settings import ApiSettings, AuthSettings, Settings
from cluster.stores.db import User, UserChanges
from pipelines.clock import ManualClock
from serve.api.app import create_app
from serve.api.auth import CACHE_TTL_S
from serve.api.problems import TooManyRequestsError
from serve.api.sign_in import SignIn, WrongPasswordError
from serve.api.throttle import SignInThrottle
from serve.api.user_tokens import TokenKeys
from tests.integration.api.test_api_stream import follow
from tests.integration.api.world import (
    World,
    add_user,
    eventually,
    logged,
    open_world,
    problem,
    served,
    sign_in,
)


@pytest.fixture
async def manual(settings: Settings, migrated: Path) -> AsyncIterator[tuple[World, ManualClock]]:
    clock = ManualClock()
    async with open_world(settings, migrated, clock) as world:
        yield world, clock


@pytest.fixture
async def ana(world: World) -> User:
    return await add_user(world, "acme", Role.OPERATOR, "ana")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def tokens(client: httpx.AsyncClient, user: User) -> dict[str, Any]:
    response = await sign_in(client, user)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def status(client: httpx.AsyncClient, access: str) -> int:
    return (await client.get("/v1/session", headers=bearer(access))).status_code


async def is_over(client: httpx.AsyncClient, access: str) -> bool:
    return await status(client, access) == 401


def cookie_of(response: httpx.Response) -> Any:
    found = [SimpleCookie(text) for text in response.headers.get_list("set-cookie")]
    [jar] = [jar for jar in found if "atalaia_refresh" in jar]
    return jar["atalaia_refresh"]


# ------------------------------------------------------------ the way it goes


async def test_a_program_signs_in_and_is_that_user(
    world: World, anonymous: httpx.AsyncClient, ana: User
) -> None:
    response = await sign_in(anonymous, ana)
    body = response.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    assert "set-cookie" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    session = (await anonymous.get("/v1/session", headers=bearer(body["access_token"]))).json()
    assert (session["tenant"], session["role"]) == ("acme", "operator")
    assert session["user"] == {"id": ana.id, "email": "ana@acme.example", "name": "ana"}
    refused = await anonymous.post("/v1/cameras", headers=bearer(body["access_token"]), json={})
    assert problem(refused, 403)["permission"] == "camera.manage"
    log = await logged(world, "acme")
    assert [(e.action, e.actor) for e in log] == [
        ("camera.add", f"user:{ana.id}"),
        ("session.begin", f"user:{ana.id}"),
    ]
    assert log[1].object_kind == "session"
    assert log[1].details == {"client": "program"}
    assert (await world.database.users("acme").user(ana.id)).signed_in_us is not None


async def test_a_browser_has_its_refresh_token_where_no_script_reads(
    anonymous: httpx.AsyncClient, ana: User
) -> None:
    response = await sign_in(anonymous, ana, client="browser")
    assert response.json().keys() == {"access_token", "token_type", "expires_in"}
    cookie = cookie_of(response)
    assert (cookie["path"], cookie["samesite"]) == ("/v1/auth", "strict")
    assert cookie["httponly"]
    assert not cookie["secure"], "this API is reached by HTTP"
    assert 0 < int(cookie["max-age"]) <= 14 * 86_400
    # httpx sends it only below its path, as a browser does.
    renewed = await anonymous.post("/v1/auth/refresh")
    assert renewed.status_code == 200
    assert "refresh_token" not in renewed.json()
    assert cookie_of(renewed).value != cookie.value
    assert await status(anonymous, renewed.json()["access_token"]) == 200
    ended = await anonymous.post("/v1/auth/logout")
    assert ended.status_code == 204
    assert cookie_of(ended).value == ""
    problem(await anonymous.post("/v1/auth/refresh"), 401, "unauthorized")


async def test_where_the_api_is_reached_by_https_the_cookie_is_secure(
    world: World, ana: User
) -> None:
    api = ApiSettings(url="https://atalaia.example")
    settings = world.deps.settings.model_copy(update={"api": api})
    app = create_app(replace(world.deps, settings=settings))
    async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
        assert cookie_of(await sign_in(client, ana, client="browser"))["secure"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_cannot_use_the_cookie(
    anonymous: httpx.AsyncClient, ana: User, site: str
) -> None:
    await sign_in(anonymous, ana, client="browser")
    for path in ("refresh", "logout"):
        response = await anonymous.post(f"/v1/auth/{path}", headers={"Sec-Fetch-Site": site})
        problem(response, 403, "forbidden")
    own = {"Sec-Fetch-Site": "same-origin"}
    assert (await anonymous.post("/v1/auth/refresh", headers=own)).status_code == 200


async def test_a_used_refresh_token_that_comes_back_ends_the_family(
    world: World, anonymous: httpx.AsyncClient, ana: User
) -> None:
    first = await tokens(anonymous, ana)
    other = await tokens(anonymous, ana)
    second = (
        await anonymous.post("/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    ).json()
    assert await status(anonymous, second["access_token"]) == 200

    stolen = await anonymous.post(
        "/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}
    )

    problem(stolen, 401, "unauthorized")
    newest = await anonymous.post(
        "/v1/auth/refresh", json={"refresh_token": second["refresh_token"]}
    )
    problem(newest, 401, "unauthorized")
    await eventually(partial(is_over, anonymous, second["access_token"]), within_s=30)
    assert await status(anonymous, other["access_token"]) == 200
    [reuse] = [e for e in await logged(world, "acme") if e.action == "session.reuse"]
    assert (reuse.actor, reuse.outcome) == (f"user:{ana.id}", "refused")


async def test_signing_out_ends_one_session(
    world: World, anonymous: httpx.AsyncClient, ana: User
) -> None:
    first, other = await tokens(anonymous, ana), await tokens(anonymous, ana)
    body = {"refresh_token": first["refresh_token"]}
    assert (await anonymous.post("/v1/auth/logout", json=body)).status_code == 204
    assert (await anonymous.post("/v1/auth/logout", json=body)).status_code == 204
    problem(await anonymous.post("/v1/auth/refresh", json=body), 401)
    await eventually(partial(is_over, anonymous, first["access_token"]), within_s=30)
    assert await status(anonymous, other["access_token"]) == 200
    log = await logged(world, "acme")
    assert [e.action for e in log] == ["session.end", "session.begin", "session.begin"]
    assert log[0].object_id == log[2].object_id


async def test_an_access_token_works_for_ten_minutes_and_a_session_for_its_time(
    manual: tuple[World, ManualClock],
) -> None:
    world, clock = manual
    ana = await add_user(world, "acme", Role.OPERATOR, "ana")
    client = await world.client(None)
    found = await tokens(client, ana)
    clock.advance(599)
    assert await status(client, found["access_token"]) == 200
    clock.advance(1)
    expired = await client.get("/v1/session", headers=bearer(found["access_token"]))
    assert "refresh" in str(problem(expired, 401, "unauthorized")["hint"])
    renewed = await client.post("/v1/auth/refresh", json={"refresh_token": found["refresh_token"]})
    assert await status(client, renewed.json()["access_token"]) == 200
    clock.advance(world.deps.settings.auth.session_ttl_s)
    late = await client.post(
        "/v1/auth/refresh", json={"refresh_token": renewed.json()["refresh_token"]}
    )
    problem(late, 401, "unauthorized")


async def test_what_happens_to_a_user_reaches_its_tokens(
    manual: tuple[World, ManualClock],
) -> None:
    world, clock = manual
    ana = await add_user(world, "acme", Role.VIEWER, "ana")
    client, users = await world.client(None), world.database.users("acme")
    found = await tokens(client, ana)

    async def may_acknowledge() -> bool:
        path = "/v1/alarms/00000000-0000-4000-8000-000000000000/ack"
        response = await client.post(path, headers=bearer(found["access_token"]))
        return response.status_code == 404

    assert not await may_acknowledge()
    await users.change(ana.id, UserChanges(role=Role.OPERATOR))
    clock.advance(CACHE_TTL_S)
    assert await may_acknowledge()
    await users.change(ana.id, UserChanges(disabled=True))
    clock.advance(CACHE_TTL_S)
    assert await status(client, found["access_token"]) == 401
    problem(await sign_in(client, ana), 401)
    await users.change(ana.id, UserChanges(disabled=False))
    found = await tokens(client, ana)
    assert await status(client, found["access_token"]) == 200
    await users.remove(ana.id)
    gone = await client.get("/v1/session", headers=bearer(found["access_token"]))
    problem(gone, 401, "unauthorized")  # while the session is still remembered


async def test_tokens_are_not_taken_for_each_other(
    anonymous: httpx.AsyncClient, world: World, ana: User
) -> None:
    found = await tokens(anonymous, ana)
    assert await status(anonymous, found["refresh_token"]) == 401
    for wrong in (found["access_token"], world.keys["acme"], "x"):
        response = await anonymous.post("/v1/auth/refresh", json={"refresh_token": wrong})
        problem(response, 401, "unauthorized")
    problem(await anonymous.post("/v1/auth/refresh"), 401)


async def test_a_new_signing_key_signs_nobody_out(world: World, ana: User) -> None:
    old, new = SecretStr("o" * 40), SecretStr("n" * 40)
    found: dict[str, Any] = {}
    answers = []
    for ring in ((old,), (new, old), (new,)):
        auth = AuthSettings(keys=ring)
        settings = world.deps.settings.model_copy(update={"auth": auth})
        app = create_app(replace(world.deps, settings=settings))
        async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
            found = found or await tokens(client, ana)
            answers.append(await status(client, found["access_token"]))
    assert answers == [200, 200, 401]


# ------------------------------------------------------------ strangers


async def test_a_refusal_tells_nothing(
    world: World, anonymous: httpx.AsyncClient, ana: User
) -> None:
    await world.database.users("acme").change(
        (await add_user(world, "acme", Role.VIEWER, "gone")).id, UserChanges(disabled=True)
    )
    answers = [
        await sign_in(anonymous, ana, password="another horse battery"),
        await sign_in(anonymous, ana, email="nobody@acme.example"),
        await sign_in(anonymous, ana, email="gone@acme.example"),
        await sign_in(anonymous, ana, tenant="globex"),
        await sign_in(anonymous, ana, tenant="nobody"),
        await sign_in(anonymous, ana, email="not an address"),
    ]
    assert {problem(answer, 401, "unauthorized")["detail"] for answer in answers} == {
        "Tenant, e-mail address or password are wrong."
    }
    assert len({answer.text for answer in answers}) == 1
    log = await logged(world, "acme")
    assert [(e.action, e.actor, e.outcome) for e in log] == [
        ("session.refuse", "unknown", "refused")
    ] * 2
    assert log[1].details == {"user": ana.id}
    assert await logged(world, "globex") == []


async def test_guessing_is_slowed_and_locks_nobody_out(world: World, ana: User) -> None:
    """From one address: another account, whoever is signed in, and every key go on."""
    bob = await add_user(world, "acme", Role.VIEWER, "bob")
    client = await world.client(None)
    signed_in = await tokens(client, ana)
    tries = [await sign_in(client, ana, password=f"guess number {n}") for n in range(7)]
    assert [response.status_code for response in tries] == [401] * 5 + [429] * 2
    assert 0 < int(tries[-1].headers["retry-after"]) <= 60
    problem(await sign_in(client, ana), 429, "too-many-requests")
    assert (await sign_in(client, bob)).status_code == 200
    assert await status(client, signed_in["access_token"]) == 200
    body = {"refresh_token": signed_in["refresh_token"]}
    assert (await client.post("/v1/auth/refresh", json=body)).status_code == 200
    for who in ("acme", "acme viewer", "platform"):
        assert (await (await world.client(who)).get("/v1/session")).status_code == 200


async def test_a_stranger_at_the_same_address_does_not_keep_a_known_browser_out(
    world: World, ana: User
) -> None:
    bob = await add_user(world, "acme", Role.VIEWER, "bob")
    browser, stranger = await world.client(None), await world.client(None)
    assert (await sign_in(browser, ana, client="browser")).status_code == 200
    for _ in range(5):
        await sign_in(stranger, ana, password="another horse battery")
        await sign_in(stranger, bob, password="another horse battery")
    problem(await sign_in(stranger, ana), 429)

    assert (await sign_in(browser, ana, client="browser")).status_code == 200
    problem(await sign_in(browser, bob), 429)  # the browser is not known for bob
    device = {"Cookie": f"atalaia_device={browser.cookies['atalaia_device']}x"}
    response = await stranger.post(
        "/v1/auth/login",
        json={"tenant": "acme", "email": ana.email, "password": "guess"},
        headers=device,
    )
    problem(response, 429)


async def test_a_try_that_found_no_place_in_the_queue_is_none(world: World) -> None:
    """However many find one: whoever was checked has no try left, and whoever was not has his."""
    clock = ManualClock()
    throttle = SignInThrottle(clock, per_account=(1, 60.0), per_network=(100, 60.0))
    service = SignIn(
        world.database,
        clock,
        TokenKeys([SecretStr("s" * 40)]),
        throttle,
        access_token_ttl_s=600,
        session_ttl_s=3600,
    )

    async def tried(n: int) -> type[BaseException]:
        with pytest.raises((WrongPasswordError, TooManyRequestsError)) as caught:
            await service.login(
                "acme", f"u{n}@x.example", SecretStr("guess"), "program", "192.0.2.1"
            )
        return caught.type

    first = await asyncio.gather(*(tried(n) for n in range(8)))
    again = [await tried(n) for n in range(8)]
    await service.aclose()
    other = {WrongPasswordError: TooManyRequestsError, TooManyRequestsError: WrongPasswordError}
    assert again == [other[kind] for kind in first]


async def test_guessing_in_a_known_browser_is_slowed_too(world: World, ana: User) -> None:
    browser = await world.client(None)
    await sign_in(browser, ana, client="browser")
    tries = [await sign_in(browser, ana, password=f"guess number {n}") for n in range(6)]
    assert [response.status_code for response in tries] == [401] * 5 + [429]


async def test_an_account_is_not_locked_from_elsewhere(world: World, ana: User) -> None:
    """The stranger's address is what a trusted proxy says."""
    api = ApiSettings.model_validate({"trusted_proxies": ["127.0.0.0/8"]})
    settings = world.deps.settings.model_copy(update={"api": api})
    app = create_app(replace(world.deps, settings=settings))
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        client.headers["X-Forwarded-For"] = "203.0.113.9"
        for _ in range(5):
            await sign_in(client, ana, password="another horse battery")
        problem(await sign_in(client, ana), 429)
        client.headers["X-Forwarded-For"] = "198.51.100.7"
        assert (await sign_in(client, ana)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tenant": "acme", "email": "a@b"},
        {"tenant": "Not A Slug", "email": "a@b", "password": "x"},
        {"tenant": "acme", "email": "a@b", "password": "x" * 257},
        {"tenant": "acme", "email": "a" * 255, "password": "x"},
        {"tenant": "acme", "email": "a@b", "password": "x", "client": "toaster"},
        {"tenant": "acme", "email": "a@b", "password": "x", "role": "admin"},
    ],
)
async def test_wrong_bodies(anonymous: httpx.AsyncClient, body: dict[str, Any]) -> None:
    response = await anonymous.post("/v1/auth/login", json=body)
    assert "x" * 257 not in response.text
    problem(response, 422, "invalid-input")


async def test_passwords_and_tokens_are_neither_answered_nor_logged(
    world: World, anonymous: httpx.AsyncClient, ana: User, logs: Any
) -> None:
    found = await tokens(anonymous, ana)
    await sign_in(anonymous, ana, password="hunter2-hunter2")
    await anonymous.post("/v1/auth/refresh", json={"refresh_token": found["refresh_token"]})
    await anonymous.post("/v1/auth/refresh", json={"refresh_token": found["refresh_token"]})
    await anonymous.get("/v1/session", headers=bearer(found["access_token"] + "x"))
    entries = " ".join(str(entry) for entry in await logged(world, "acme"))
    everything = logs.getvalue() + entries
    for secret in ("hunter2", "correct horse", found["refresh_token"], found["access_token"]):
        assert secret not in everything


# ------------------------------------------------------------ open streams


@pytest.mark.parametrize("how", ["sign out", "disable", "remove", "rotate"])
async def test_an_open_stream_ends_with_what_opened_it(
    world: World, acme: httpx.AsyncClient, anonymous: httpx.AsyncClient, ana: User, how: str
) -> None:
    """Within five seconds where the machine has time: two between checks, two of memory."""
    found = await tokens(anonymous, ana)
    issued = await world.database.keys("acme").issue("door", Role.VIEWER)
    credential = issued.secret if how == "rotate" else found["access_token"]
    client = await world.client(None)
    client.headers.update(bearer(credential))
    async with follow(client) as events, asyncio.timeout(30):
        await anext(events)
        match how:
            case "sign out":
                body = {"refresh_token": found["refresh_token"]}
                await anonymous.post("/v1/auth/logout", json=body)
            case "disable":
                await acme.patch(f"/v1/users/{ana.id}", json={"disabled": True})
            case "remove":
                await acme.delete(f"/v1/users/{ana.id}")
            case _:
                await acme.post(f"/v1/keys/{issued.id}/rotate", json={"overlap_s": 0})
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_stranger_sends_little(anonymous: httpx.AsyncClient) -> None:
    """Reading a body takes time on the event loop, and no key pays for it."""
    body = {"tenant": "acme", "email": "a@b", "password": "x" * 12, "more": "y" * 9_000}
    for path in ("/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout"):
        problem(await anonymous.post(path, json=body), 413, "too-large")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/auth/refresh", {"refresh_token": "\ud800.e30.AA"}),
        ("/v1/auth/logout", {"refresh_token": "\ud800.e30.AA"}),
        ("/v1/auth/login", {"tenant": "acme", "email": "a@b", "password": "\ud800" * 12}),
        ("/v1/cameras", {"id": "gate", "url": "rtsp://u:\ud800@192.0.2.1/"}),
        ("/v1/users", {"email": "a@b.c", "role": "viewer", "password": "\ud800" * 12}),
    ],
)
async def test_half_a_character_is_no_text(
    acme: httpx.AsyncClient, path: str, body: dict[str, str]
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await acme.post(path, content=json.dumps(body), headers=headers)
    problem(answer, 422, "invalid-input")
