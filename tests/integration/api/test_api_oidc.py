"""Users sign in at their tenant's identity provider."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect
from pydantic import SecretStr

from cluster.core.oidc_settings import OidcProvider
from cluster.core.roles import Role
from cluster.core.settings import AuthSettings, Settings
from cluster.stores.db import UserChanges
from serve.dashboard import is_built
from tests.browser import chromium, opened
from tests.factories import make_camera
from tests.integration.api.identity_provider import IdentityProvider, identity_provider, query_of
from tests.integration.api.world import (
    PASSWORD,
    World,
    add_user,
    logged,
    open_world,
    problem,
    sign_in,
)
from tests.ports import free_port

pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config", "ignore:authlib.jose")

START = "/v1/auth/oidc/corp/start"
CALLBACK = "/v1/auth/oidc/corp/callback"


@pytest.fixture(scope="module")
def corp() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


def with_provider(settings: Settings, corp: IdentityProvider, **changed: object) -> Settings:
    provider = {
        "tenant": "acme",
        "title": "Acme sign-on",
        "issuer": corp.issuer,
        "client_id": "atalaia",
        "client_secret": SecretStr("a secret of the client"),
        "roles": {"guards": Role.OPERATOR, "bosses": Role.ADMIN},
    }
    auth = AuthSettings(providers={"corp": OidcProvider.model_validate(provider | changed)})
    return settings.model_copy(update={"auth": auth})


@pytest.fixture
async def world(settings: Settings, migrated: Path, corp: IdentityProvider) -> AsyncIterator[World]:
    async with open_world(with_provider(settings, corp), migrated) as world:
        yield world


@pytest.fixture
async def browser(world: World) -> httpx.AsyncClient:
    return await world.client(None)


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with chromium() as chrome:
        yield chrome


async def goes_there(browser: httpx.AsyncClient) -> str:
    """Where the provider is."""
    answer = await browser.get(START)
    assert answer.status_code == 302, answer.text
    location: str = answer.headers["location"]
    return location


async def comes_back(
    browser: httpx.AsyncClient, corp: IdentityProvider, subject: str
) -> httpx.Response:
    back = corp.sign_in(await goes_there(browser), subject)
    return await browser.get(CALLBACK, params=query_of(back))


def refusal(answer: httpx.Response) -> str:
    """Why the page says that nobody was signed in."""
    assert answer.status_code == 303, answer.text
    assert not [c for c in answer.headers.get_list("set-cookie") if c.startswith("atalaia_refresh")]
    location: str = answer.headers["location"]
    assert location.startswith("/?")
    return query_of(location)["sign-in"]


async def access(browser: httpx.AsyncClient) -> dict[str, str]:
    """The header that the page sends with everything."""
    answer = await browser.post("/v1/auth/refresh")
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


# ------------------------------------------------------------ the way it goes


async def test_somebody_signs_in_for_the_first_time(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    corp.knows("ana-1", email="Ana@Acme.Example", name="Ana", roles=["guards"])
    listed = await browser.get("/v1/auth/providers", params={"tenant": "acme"})
    assert listed.json() == {"providers": [{"name": "corp", "title": "Acme sign-on", "url": START}]}
    there = await goes_there(browser)
    asked = query_of(there)
    assert there.startswith(f"{corp.issuer}/oauth2/authorize?")
    assert asked["redirect_uri"] == f"{world.deps.settings.api_url}{CALLBACK}"
    assert asked["code_challenge_method"] == "S256"
    assert set(asked["scope"].split()) == {"openid", "email", "profile"}

    answer = await browser.get(CALLBACK, params=query_of(corp.sign_in(there, "ana-1")))

    assert (answer.status_code, answer.headers["location"]) == (303, "/?signed-in=acme")
    [refresh] = [
        c for c in answer.headers.get_list("set-cookie") if c.startswith("atalaia_refresh=")
    ]
    assert {"HttpOnly", "SameSite=strict", "Path=/v1/auth", "Max-Age=43200"} <= set(
        refresh.split("; ")
    )
    session = (await browser.get("/v1/session", headers=await access(browser))).json()
    assert (session["tenant"], session["role"]) == ("acme", "operator")
    assert (session["user"]["email"], session["user"]["name"]) == ("ana@acme.example", "Ana")
    [user] = await world.database.users("acme").users()
    assert (user.provider, user.disabled) == ("corp", False)
    [entry] = [e for e in await logged(world, "acme") if e.action == "session.begin"]
    assert (entry.actor, entry.details) == (
        user.actor,
        {"client": "browser", "provider": "corp"},
    )


async def test_name_address_and_role_follow_the_provider(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    corp.knows("bea", email="bea@acme.example", name="Bea", roles=["guards"])
    await comes_back(browser, corp, "bea")
    corp.knows("bea", email="bea.b@acme.example", name="Bea B.", roles=["bosses", "guards"])
    await comes_back(browser, corp, "bea")
    [user] = await world.database.users("acme").users()
    assert (user.email, user.name, user.role) == ("bea.b@acme.example", "Bea B.", Role.ADMIN)


async def test_camera_groups_come_from_the_provider(
    settings: Settings, migrated: Path, corp: IdentityProvider
) -> None:
    settings = with_provider(settings, corp, group_claim="sites", groups={"north": "north"})
    async with open_world(settings, migrated) as world:
        for camera in ("gate", "yard"):
            await world.database.tenant("acme").add_camera(make_camera(id=camera))
        browser = await world.client(None)
        corp.knows("liv", email="liv@acme.example", roles=["guards"], sites=["north"])
        assert refusal(await comes_back(browser, corp, "liv")) == "not-allowed", "no such group"
        admin = await world.client("acme")
        group = {"id": "north", "name": "North", "cameras": ["yard"]}
        assert (await admin.post("/v1/groups", json=group)).status_code == 201
        await comes_back(browser, corp, "liv")
        seen = (await browser.get("/v1/cameras", headers=await access(browser))).json()
        assert [camera["id"] for camera in seen["cameras"]] == ["yard"]
        corp.knows("liv", email="liv@acme.example", roles=["bosses"], sites=[])
        await comes_back(browser, corp, "liv")
        [user] = await world.database.users("acme").users()
        assert (user.role, user.groups) == (Role.ADMIN, None)


async def test_groups_given_here_are_kept_until_somebody_is_an_admin(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    await world.database.tenant("acme").add_camera(make_camera(id="yard"))
    await world.database.groups("acme").add("north", "North", ["yard"])
    corp.knows("max", email="max@acme.example", roles=["guards"])
    await comes_back(browser, corp, "max")
    [user] = await world.database.users("acme").users()
    await world.database.users("acme").change(user.id, UserChanges(groups=("north",)))
    await comes_back(browser, corp, "max")
    assert (await world.database.users("acme").user(user.id)).groups == ("north",)
    corp.knows("max", email="max@acme.example", roles=["bosses"])
    await comes_back(browser, corp, "max")
    assert (await world.database.users("acme").user(user.id)).groups is None


async def test_other_tenants_have_no_button(browser: httpx.AsyncClient) -> None:
    for tenant in ("globex", "nobody"):
        answer = await browser.get("/v1/auth/providers", params={"tenant": tenant})
        assert answer.json() == {"providers": []}
    problem(await browser.get("/v1/auth/providers"), 422)


# ------------------------------------------------------------ who is not let in


async def test_who_has_no_role_is_refused(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    corp.knows("cyd", email="cyd@acme.example", roles=["visitors"])
    assert refusal(await comes_back(browser, corp, "cyd")) == "not-allowed"
    assert await world.database.users("acme").users() == []


async def test_who_is_disabled_here_stays_out(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    corp.knows("dan", email="dan@acme.example", roles=["guards"])
    await comes_back(browser, corp, "dan")
    await access(browser)
    [user] = await world.database.users("acme").users()
    await world.database.users("acme").change(user.id, UserChanges(disabled=True))
    problem(await browser.post("/v1/auth/refresh"), 401)
    assert refusal(await comes_back(await world.client(None), corp, "dan")) == "not-allowed"


async def test_who_turns_back(browser: httpx.AsyncClient, corp: IdentityProvider) -> None:
    back = corp.sign_in(await goes_there(browser), "ana-1", deny=True)
    assert refusal(await browser.get(CALLBACK, params=query_of(back))) == "denied"


async def test_a_code_works_in_the_browser_that_asked_and_once(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    """Nobody can be signed in as somebody else by a link."""
    corp.knows("eve", email="eve@acme.example", roles=["guards"])
    back = query_of(corp.sign_in(await goes_there(browser), "eve"))
    other = await world.client(None)
    assert refusal(await other.get(CALLBACK, params=back)) == "expired"
    await goes_there(other)
    assert refusal(await other.get(CALLBACK, params=back)) == "expired"
    mixed = back | {"state": query_of(await goes_there(other))["state"]}
    assert refusal(await other.get(CALLBACK, params=mixed)) == "denied"
    assert (await browser.get(CALLBACK, params=back)).headers["location"] == "/?signed-in=acme"
    assert refusal(await browser.get(CALLBACK, params=back)) == "expired"


@pytest.mark.parametrize("query", ["", "code=x", "state=x", "code=x&state=y", "error=%3Cb%3E"])
async def test_strangers_at_the_callback(browser: httpx.AsyncClient, query: str) -> None:
    assert refusal(await browser.get(f"{CALLBACK}?{query}")) in ("expired", "denied")


@pytest.mark.parametrize("path", ["start", "callback"])
async def test_a_provider_that_there_is_not(browser: httpx.AsyncClient, path: str) -> None:
    problem(await browser.get(f"/v1/auth/oidc/nobody/{path}"), 404)


# ------------------------------------------------------------ those who were here before


async def test_an_address_alone_takes_over_nobody(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    known = await add_user(world, "acme", Role.ADMIN, "fay")
    corp.knows("fay", email=known.email, email_verified=True, roles=["guards"])
    assert refusal(await comes_back(browser, corp, "fay")) == "not-allowed"
    assert await world.database.users("acme").users() == [known]
    assert (await sign_in(browser, known)).status_code == 200


@pytest.mark.parametrize("verified", [True, False])
async def test_existing_users_are_adopted_where_the_settings_say_so(
    settings: Settings, migrated: Path, corp: IdentityProvider, verified: bool
) -> None:
    settings = with_provider(settings, corp, adopt_users=True)
    async with open_world(settings, migrated) as world:
        known = await add_user(world, "acme", Role.VIEWER, "gus")
        browser = await world.client(None)
        before = (await sign_in(browser, known)).json()["refresh_token"]
        corp.knows("gus", email=known.email, email_verified=verified, roles=["guards"])
        answer = await comes_back(browser, corp, "gus")
        if not verified:
            assert refusal(answer) == "not-allowed"
            return
        assert answer.headers["location"] == "/?signed-in=acme"
        [user] = await world.database.users("acme").users()
        assert (user.id, user.provider, user.role) == (known.id, "corp", Role.OPERATOR)
        # Whoever knew the password, or had a session by it, is out.
        problem(await sign_in(await world.client(None), known), 401)
        used = await (await world.client(None)).post(
            "/v1/auth/refresh", json={"refresh_token": before}
        )
        problem(used, 401)


async def test_role_and_password_are_the_providers(
    world: World, browser: httpx.AsyncClient, corp: IdentityProvider
) -> None:
    corp.knows("hal", email="hal@acme.example", roles=["guards"])
    await comes_back(browser, corp, "hal")
    admin = await world.client("acme")
    [user] = (await admin.get("/v1/users")).json()["users"]
    assert user["provider"] == "corp"
    path = f"/v1/users/{user['id']}"
    problem(await admin.patch(path, json={"role": "admin"}), 409)
    problem(await admin.patch(path, json={"password": PASSWORD}), 409)
    for password in ("", " ", "x", PASSWORD):
        body = {"tenant": "acme", "email": user["email"], "password": password}
        assert (await browser.post("/v1/auth/login", json=body)).status_code in (401, 422)
    assert (await admin.patch(path, json={"disabled": True})).status_code == 200
    problem(await browser.post("/v1/auth/refresh"), 401)


# ------------------------------------------------------------ providers that fail


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:9", "{issuer}/elsewhere"])
async def test_a_provider_that_is_away(
    settings: Settings, migrated: Path, corp: IdentityProvider, issuer: str
) -> None:
    """Nobody listens there; it has no metadata."""
    settings = with_provider(settings, corp, issuer=issuer.format(issuer=corp.issuer))
    async with open_world(settings, migrated) as world:
        browser = await world.client(None)
        assert refusal(await browser.get(START)) == "unavailable"


async def test_metadata_of_another_issuer(
    settings: Settings, migrated: Path, corp: IdentityProvider
) -> None:
    settings = with_provider(settings, corp, issuer=f"{corp.issuer}/impostor")
    async with open_world(settings, migrated) as world:
        browser = await world.client(None)
        assert refusal(await browser.get(START)) == "unavailable"


def unsigned(token: str) -> str:
    """The same claims, with the algorithm `none`."""
    header = urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def promoted(token: str) -> str:
    """Other claims under the signature of these."""
    header, body, signature = token.split(".")
    claims = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    changed = json.dumps(claims | {"roles": ["bosses"]}).encode()
    return f"{header}.{urlsafe_b64encode(changed).rstrip(b'=').decode()}.{signature}"


def signed_by_nobody(token: str) -> str:
    """With a key of a stranger, under the provider's key id."""
    header, body, _ = token.split(".")
    signature = urlsafe_b64encode(b"x" * 256).rstrip(b"=").decode()
    return f"{header}.{body}.{signature}"


@pytest.mark.parametrize("tamper", [unsigned, promoted, signed_by_nobody, lambda _: "x.y.z"])
async def test_tokens_that_the_provider_did_not_sign(
    world: World,
    browser: httpx.AsyncClient,
    corp: IdentityProvider,
    monkeypatch: pytest.MonkeyPatch,
    tamper: Callable[[str], str],
) -> None:
    corp.knows("ivo", email="ivo@acme.example", roles=["guards"])
    monkeypatch.setattr(corp, "tamper", tamper)
    assert refusal(await comes_back(browser, corp, "ivo")) == "unavailable"
    assert await world.database.users("acme").users() == []
    monkeypatch.setattr(corp, "tamper", str)
    answer = await comes_back(browser, corp, "ivo")
    assert answer.headers["location"] == "/?signed-in=acme"


async def test_over_https_the_cookie_stays_there(
    settings: Settings, migrated: Path, corp: IdentityProvider
) -> None:
    api = settings.api.model_copy(update={"url": "https://cameras.example"})
    settings = with_provider(settings, corp).model_copy(update={"api": api})
    async with open_world(settings, migrated) as world:
        answer = await (await world.client(None)).get(START)
        [cookie] = answer.headers.get_list("set-cookie")
        assert {"httponly", "secure", "samesite=lax", "path=/v1/auth/oidc/"} <= {
            part.lower() for part in cookie.split("; ")
        }
        redirect = query_of(answer.headers["location"])["redirect_uri"]
        assert redirect == "https://cameras.example/v1/auth/oidc/corp/callback"


async def test_without_providers_there_is_nothing(settings: Settings, migrated: Path) -> None:
    async with open_world(settings, migrated) as world:
        browser = await world.client(None)
        problem(await browser.get(START), 404)
        listed = await browser.get("/v1/auth/providers", params={"tenant": "acme"})
        assert listed.json() == {"providers": []}


# ------------------------------------------------------------ the page


@pytest.mark.skipif(not is_built(), reason="the page is not built: `make dashboard`")
async def test_the_page_offers_the_provider_and_goes_on_where_it_leads(
    settings: Settings, migrated: Path, corp: IdentityProvider, chrome: Browser
) -> None:
    port = free_port()
    api = settings.api.model_copy(update={"url": f"http://127.0.0.1:{port}"})
    settings = with_provider(settings, corp).model_copy(update={"api": api})
    corp.knows("joy", email="joy@acme.example", name="Joy", roles=["guards"])
    corp.knows("kim", email="kim@acme.example", name="Kim", roles=["visitors"])
    async with open_world(settings, migrated, port=port) as world, opened(chrome) as page:
        await page.goto(world.url)
        await page.get_by_label("Organization").fill("globex")
        button = page.get_by_role("link", name="Sign in with Acme sign-on")
        await expect(button).to_have_count(0)

        await page.get_by_label("Organization").fill("acme")
        await button.click()
        await page.locator('input[name="sub"]').fill("kim")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("may not use Atalaia")
        assert page.url == f"{world.url}/"

        await page.get_by_label("Organization").fill("acme")
        await button.click()
        await page.locator('input[name="sub"]').fill("joy")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
        assert page.url == f"{world.url}/"
        await page.reload()
        await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Organization")).to_have_value("acme")
        await expect(button).to_be_visible()
