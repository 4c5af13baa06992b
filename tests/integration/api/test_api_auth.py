"""Nothing under `/v1` is reached without a key; guessing is slowed; keys never come back."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from pydantic import ValidationError
from starlette.routing import Route

from cluster.core.settings import ApiSettings
from cluster.stores.db import new_key
from serve.api.app import ROUTERS, create_app
from serve.api.auth import Authenticator
from tests.integration.api.world import World, problem, served

OPEN = {
    "/healthz", "/readyz", "/metrics", "/media/{token}",
    "/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout", "/v1/auth/providers",
    "/v1/auth/oidc/{provider}/start", "/v1/auth/oidc/{provider}/callback",
}  # fmt: skip
"""A link under /media carries its permission in itself, see test_api_media; sign-in is in
test_api_sign_in and test_api_oidc."""


def guarded() -> list[tuple[str, str]]:
    """Method and address of every route that needs a key."""
    found = []
    for module in ROUTERS:
        for route in module.router.routes:
            assert isinstance(route, Route)
            path = route.path.replace("{alarm}", "0" * 8 + "-0000-4000-8000-" + "0" * 12)
            path = path.replace("{export}", "0" * 8 + "-0000-4000-8000-" + "0" * 12)
            path = path.replace("{key:path}", "a.jpg").replace("{key}", "zzzzzzzz")
            path = path.replace("{tenant}", "acme")
            path = path.replace("{camera}", "gate").replace("{rule}", "yard")
            path = path.replace("{user}", "z" * 12)
            if path not in OPEN:
                found += [(method, path) for method in sorted(route.methods or ())]
    return found


def test_only_health_and_signed_links_are_open() -> None:
    assert len(guarded()) >= 20
    assert all(path.startswith("/v1/") for _, path in guarded())


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic YTpi",
        "Bearer not-a-key",
        pytest.param(f"Bearer {new_key()}", id="a key that nobody was given"),
        pytest.param(f"Token {new_key()}", id="another scheme"),
        "Bearer " + "x" * 5_000,
        "Bearer \x80\xff".encode("latin-1"),
    ],
)
async def test_no_key_no_answer(anonymous: httpx.AsyncClient, header: str | bytes | None) -> None:
    headers = {} if header is None else {"Authorization": header}

    response = await anonymous.get("/v1/cameras", headers=headers)  # type: ignore[arg-type]

    problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_every_guarded_route_is_guarded(anonymous: httpx.AsyncClient) -> None:
    """The body is not even parsed: a broken one gets the same answer."""
    for method, path in [*guarded(), ("GET", "/v1"), ("GET", "/v1/nothing"), ("PUT", "/v1/x")]:
        response = await anonymous.request(
            method, path, content=b"{", headers={"content-type": "application/json"}
        )
        problem(response, 401, "unauthorized")


@pytest.mark.parametrize("path", ["//v1/cameras", "/v1//cameras", "/V1/cameras", "/v1/./cameras"])
async def test_no_spelling_of_an_address_goes_around(
    anonymous: httpx.AsyncClient, path: str
) -> None:
    request = anonymous.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())

    response = await anonymous.send(request)

    assert response.status_code in (401, 404)


async def test_a_key_in_the_address_opens_nothing(
    anonymous: httpx.AsyncClient, world: World
) -> None:
    key = world.keys["acme"]
    for params in ({"key": key}, {"access_token": key}, {"token": key}):
        problem(await anonymous.get("/v1/cameras", params=params), 401)
    problem(await anonymous.get("/v1/cameras", headers={"Cookie": f"key={key}"}), 401)


async def test_the_scheme_is_not_case_sensitive(anonymous: httpx.AsyncClient, world: World) -> None:
    headers = {"Authorization": f"bearer  {world.keys['acme']}"}

    assert (await anonymous.get("/v1/session", headers=headers)).status_code == 200


async def test_guessing_is_slowed_but_locks_nobody_out(world: World) -> None:
    keys = Authenticator(world.database.platform(), world.deps.clock, failures_per_minute=5)
    app = create_app(world.deps, authenticator=keys)
    good = {"Authorization": f"Bearer {world.keys['acme']}"}
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        assert (await client.get("/v1/session", headers=good)).status_code == 200
        codes = [
            (
                await client.get("/v1/session", headers={"Authorization": f"Bearer {new_key()}"})
            ).status_code
            for _ in range(8)
        ]
        blocked = await client.get("/v1/session", headers={"Authorization": f"Bearer {new_key()}"})

        assert codes == [401] * 5 + [429] * 3
        problem(blocked, 429, "too-many-requests")
        assert int(blocked.headers["retry-after"]) > 0
        assert (await client.get("/v1/session", headers=good)).status_code == 200


@pytest.mark.parametrize(
    ("trusted", "forwarded", "codes"),
    [
        # Nobody is trusted: all come from the peer, whatever they say.
        ((), "203.0.113.{}", [401, 401, 429, 429]),
        (("10.0.0.0/8",), "203.0.113.{}", [401, 401, 429, 429]),
        # The peer is a proxy: it says who its own peer is.
        (("127.0.0.0/8",), "203.0.113.{}", [401, 401, 401, 401]),
        (("127.0.0.0/8",), "203.0.113.9", [401, 401, 429, 429]),
        # What that one claims stands before it and is not believed.
        (("127.0.0.0/8",), "198.51.100.{}, 203.0.113.9", [401, 401, 429, 429]),
        # Two proxies, one behind the other.
        (("127.0.0.0/8", "10.1.0.0/16"), "203.0.113.9, 10.1.2.{}", [401, 401, 429, 429]),
    ],
)
async def test_callers_are_told_apart_by_what_trusted_proxies_say(
    world: World, trusted: tuple[str, ...], forwarded: str, codes: list[int]
) -> None:
    api = ApiSettings.model_validate({"trusted_proxies": trusted})
    settings = world.deps.settings.model_copy(update={"api": api})
    keys = Authenticator(world.database.platform(), world.deps.clock, failures_per_minute=2)
    app = create_app(replace(world.deps, settings=settings), authenticator=keys)
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        seen = [
            await client.get(
                "/v1/session",
                headers={
                    "Authorization": f"Bearer {new_key()}",
                    "X-Forwarded-For": forwarded.format(number),
                },
            )
            for number in range(4)
        ]
    assert [response.status_code for response in seen] == codes


def test_a_proxy_is_a_network() -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        ApiSettings.model_validate({"trusted_proxies": ["proxy.example"]})
