"""What each role may do: every route, with the key of every role, against the table."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from cluster.core.roles import GRANTS, Role
from cluster.stores.audit.events import PLATFORM_CHAIN
from serve.api.app import ROUTERS
from serve.api.permissions import WITH_BODY, permission_of
from tests.integration.api.test_api_stream import follow
from tests.integration.api.world import World, logged, problem

STREAM = "/v1/alarms/stream"
ANY_ID = "00000000-0000-4000-8000-000000000000"
PLACES = {
    "{camera}": "gate", "{rule}": "yard", "{alarm}": ANY_ID, "{export}": ANY_ID, "{job}": ANY_ID,
    "{track}": "t-1", "{key:path}": "a.jpg", "{key}": "zzzzzzzz",
    "{user}": "zzzzzzzzzzzz", "{group}": "gone",
}  # fmt: skip


def guarded() -> list[tuple[str, str, str]]:
    """Method, address and permission of every route that needs one."""
    found = []
    for module in ROUTERS:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            permission = permission_of(route)
            path = route.path
            for place, value in PLACES.items():
                path = path.replace(place, value)
            if permission is not None:
                found += [(method, path, str(permission)) for method in sorted(route.methods or ())]
    return found


def who(role: Role) -> str:
    return "platform" if role is Role.PLATFORM else f"acme {role}"


@pytest.mark.parametrize("role", Role)
async def test_every_route_with_every_role(world: World, role: Role) -> None:
    client = await world.client(who(role))
    granted = {str(permission) for permission in GRANTS[role]}
    assert len(guarded()) >= 35
    for method, path, permission in guarded():
        if path == STREAM and permission in granted:
            async with follow(client) as events:
                await anext(events)
            continue
        response = await client.request(method, path)
        assert (response.status_code == 403) == (permission not in granted), (method, path)
        assert response.status_code != 401
        assert response.status_code < 500 or response.status_code == 503
        if response.status_code == 403:
            body = problem(response, 403, "forbidden")
            assert body["permission"] == permission
            assert body["hint"]


async def test_what_is_refused_changes_nothing_and_is_logged(
    world: World, acme: httpx.AsyncClient
) -> None:
    camera = {"id": "gate", "url": "rtsp://192.0.2.1/"}
    assert (await acme.post("/v1/cameras", json=camera)).status_code == 201
    viewer = await world.client("acme viewer")

    problem(await viewer.patch("/v1/cameras/gate", json={"name": "mine"}), 403)
    problem(await viewer.delete("/v1/cameras/gate"), 403)

    assert (await viewer.get("/v1/cameras/gate")).json()["name"] == "gate"
    refused = [e for e in await logged(world, "acme") if e.outcome == "refused"]
    assert [e.action for e in refused] == ["camera.remove", "camera.change"]


async def test_a_refusal_comes_before_what_is_wrong_with_the_request(world: World) -> None:
    """So that a role learns nothing from the checks of what it may not do."""
    viewer = await world.client("acme viewer")
    problem(await viewer.post("/v1/cameras", json={"nonsense": 1}), 403)
    problem(await viewer.get("/v1/analytics/counts", params={"since": "never"}), 403)


async def test_the_platform_key_reads_nothing_of_a_tenant(
    world: World, platform: httpx.AsyncClient
) -> None:
    for path in ("/v1/cameras", "/v1/alarms", "/v1/objects", "/v1/recordings"):
        body = problem(await platform.get(path), 403, "forbidden")
        assert "tenant" in str(body["detail"])


async def test_a_session_says_what_the_role_may(world: World) -> None:
    for role in Role:
        session: dict[str, Any] = (await (await world.client(who(role))).get("/v1/session")).json()
        assert session["role"] == role
        assert set(session["permissions"]) == {str(permission) for permission in GRANTS[role]}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.PLATFORM])
async def test_permission_is_asked_for_before_the_body_is_read(world: World, role: Role) -> None:
    """What is no JSON, too long or of another type is nothing to tell who may not send it."""
    client = await world.client(who(role))
    refused = [
        (method, path)
        for method, path, permission in guarded()
        if method in WITH_BODY and permission not in {str(one) for one in GRANTS[role]}
    ]
    assert len(refused) >= 8
    headers = {"Content-Type": "application/json"}
    for method, path in refused:
        response = await client.request(method, path, content=b"{", headers=headers)
        problem(response, 403, "forbidden")
    entries = await logged(world, "acme" if role is Role.VIEWER else PLATFORM_CHAIN)
    assert {"camera.add", "user.add"} <= {str(e.action) for e in entries if e.outcome == "refused"}


async def test_what_is_no_json_is_told_to_who_may_send_it(acme: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await acme.post("/v1/keys", content=b"{", headers=headers), 400)
