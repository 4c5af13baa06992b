"""The page in headless Chromium over a real API: people sign in, and do what their role may."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Page, expect

from cluster.core.passwords import verify_password
from cluster.core.roles import Role
from cluster.stores.db import User, UserChanges
from serve.dashboard import is_built
from tests.browser import Watch, opened, sign_in
from tests.factories import make_alarm, make_camera
from tests.integration.api.world import PASSWORD, World, add_user

pytestmark = pytest.mark.skipif(not is_built(), reason="the page is not built: `make dashboard`")


async def as_person(page: Page, world: World, role: Role) -> None:
    """A new user of acme signs in."""
    await as_user(page, world, await add_user(world, "acme", role))


async def as_user(page: Page, world: World, user: User) -> None:
    await page.goto(world.url)
    await page.get_by_label("Organization").fill("acme")
    await page.get_by_label("E-mail").fill(user.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()


async def test_a_person_stays_signed_in_and_no_script_can_read_why(
    browser: Browser, world: World
) -> None:
    await world.database.tenant("acme").add_camera(make_camera())
    async with opened(browser) as page:
        watch = Watch(page)
        watch.expect("401|404|503")  # a camera without a host has no picture
        await as_person(page, world, Role.VIEWER)
        readable = "() => JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])"
        assert "eyJ" not in await page.evaluate(readable)
        await page.reload()
        await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Password")).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("Password")).to_be_visible()
        assert not [url for url in watch.addresses if "eyJ" in url or PASSWORD in url]
        assert watch.unexpected == []


async def test_a_wrong_password_is_told(browser: Browser, world: World) -> None:
    await add_user(world, "acme", Role.VIEWER)
    async with opened(browser) as page:
        await page.goto(world.url)
        await page.get_by_label("Organization").fill("acme")
        await page.get_by_label("E-mail").fill("viewer@acme.example")
        await page.get_by_label("Password").fill("not the password")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text(
            "Organization, e-mail or password is wrong."
        )


async def test_a_person_changes_the_own_password(browser: Browser, world: World) -> None:
    async with opened(browser) as page:
        watch = Watch(page)
        watch.expect("403")  # the wrong one
        await as_person(page, world, Role.VIEWER)
        await page.get_by_role("button", name="Change password").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Current password").fill("not the password")
        await dialog.get_by_label("New password").fill("another horse battery")
        await dialog.get_by_role("button", name="Change password").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("current password is wrong")
        await dialog.get_by_label("Current password").fill(PASSWORD)
        await dialog.get_by_role("button", name="Change password").click()
        await expect(page.get_by_text("Your password was changed.")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
        assert watch.unexpected == []
    user = await world.database.users("acme").find("viewer@acme.example")
    assert user is not None
    assert verify_password(user[1].get_secret_value(), "another horse battery")


@pytest.mark.parametrize(
    ("role", "sections", "adds", "acknowledges"),
    [
        (Role.VIEWER, ["Live"], False, False),
        (Role.OPERATOR, ["Live", "Search"], False, True),
        (Role.ADMIN, ["Live", "Search", "Users and keys", "Audit log"], True, True),
    ],
)
async def test_the_page_shows_what_the_role_may(
    browser: Browser,
    world: World,
    role: Role,
    sections: list[str],
    adds: bool,
    acknowledges: bool,
) -> None:
    records = world.database.tenant("acme")
    await records.add_camera(make_camera(enabled=False))
    alarm = make_alarm(1)
    await records.record_alarms([alarm])
    async with opened(browser) as page:
        await as_person(page, world, role)
        links = page.get_by_role("navigation").get_by_role("link")
        await expect(links).to_have_text(sections)
        await expect(page.get_by_role("button", name="Add camera")).to_have_count(int(adds))
        await expect(page.get_by_role("button", name="Remove camera")).to_have_count(int(adds))
        item = page.locator(f'[data-alarm="{alarm.id}"]')
        await expect(item).to_be_visible()
        button = item.get_by_role("button", name="Acknowledge")
        await expect(button).to_have_count(int(acknowledges))


async def test_an_admin_manages_users_keys_and_reads_the_audit_log(
    browser: Browser, world: World
) -> None:
    async with opened(browser) as page:
        watch = Watch(page)
        await as_person(page, world, Role.ADMIN)
        await page.get_by_role("link", name="Users and keys").click()
        await page.get_by_role("button", name="Add user").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("E-mail").fill("ana@acme.example")
        await dialog.get_by_label("Password").fill("short")
        await dialog.get_by_role("button", name="Add user").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("at least 12 characters")
        await dialog.get_by_label("Password").fill(PASSWORD)
        await dialog.get_by_label("Role").select_option("operator")
        await dialog.get_by_role("button", name="Add user").click()
        row = page.locator('[data-user="ana@acme.example"]')
        await expect(row).to_be_visible()
        await row.get_by_role("button", name="Disable").click()
        await expect(row.get_by_role("button", name="Enable")).to_be_visible()

        await page.get_by_role("button", name="Issue a key").click()
        await dialog.get_by_label("Name").fill("till")
        await dialog.get_by_role("button", name="Issue a key").click()
        secret = dialog.locator("output")
        await expect(secret).to_have_text(re.compile(r"^atk_"))
        key = await secret.inner_text()
        await dialog.get_by_role("button", name="Close").last.click()
        await expect(page.get_by_text("till")).to_be_visible()

        await page.get_by_role("link", name="Audit log").click()
        table = page.get_by_role("table")
        for action in ("user.add", "user.change", "key.issue"):
            await expect(table.get_by_text(action, exact=True)).to_be_visible()
        assert key not in await page.content()
        assert watch.unexpected == []
    users = {user.email: user for user in await world.database.users("acme").users()}
    ana = users["ana@acme.example"]
    assert (ana.role, ana.disabled) == (Role.OPERATOR, True)


async def test_a_revoked_key_ends_the_page(browser: Browser, world: World) -> None:
    async with opened(browser) as page:
        await sign_in(page, world.url, world.keys["acme"])
        await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
        await world.database.platform().revoke_key(world.keys["acme"].split("_")[1])
        await expect(page.get_by_role("alert")).to_have_text(
            "Your key is no longer accepted. Sign in again.", timeout=30_000
        )


@pytest.fixture
async def two_cameras(world: World) -> None:
    for camera in ("gate", "vault"):
        await world.database.tenant("acme").add_camera(make_camera(id=camera, enabled=False))


@pytest.mark.usefixtures("two_cameras")
async def test_an_admin_makes_a_group_and_removes_it(browser: Browser, world: World) -> None:
    async with opened(browser) as page:
        watch = Watch(page)
        await as_person(page, world, Role.ADMIN)
        await page.get_by_role("link", name="Users and keys").click()
        await page.get_by_role("button", name="Add group").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Add group").click()
        await expect(dialog.get_by_role("alert")).to_have_text("Name the group.")
        await dialog.get_by_label("Name").fill("Entrances")
        await expect(dialog.get_by_text("No camera chosen")).to_be_visible()
        await dialog.get_by_role("button", name="Gate").click()
        await dialog.get_by_role("button", name="Add group").click()
        row = page.locator('[data-group="entrances"]')
        await expect(row).to_contain_text("gate")

        await row.get_by_role("button", name="Change").click()
        await dialog.get_by_role("button", name="Vault").click()
        await dialog.get_by_role("button", name="Save").click()
        await expect(row).to_contain_text("gate, vault")
        [made] = await world.database.groups("acme").groups()
        assert made.cameras == ("gate", "vault")

        await row.get_by_role("button", name="Remove").click()
        await dialog.get_by_role("button", name="Remove").click()
        await expect(row).to_have_count(0)
        assert watch.unexpected == []
    assert await world.database.groups("acme").groups() == []


@pytest.mark.usefixtures("two_cameras")
async def test_an_admin_chooses_groups_for_a_user_and_a_key(browser: Browser, world: World) -> None:
    groups = world.database.groups("acme")
    await groups.add("entrances", "Entrances", ["gate"])
    guard = await add_user(world, "acme", Role.VIEWER, "guard")
    async with opened(browser) as page:
        watch = Watch(page)
        watch.expect("409")  # a group in use stays
        await as_person(page, world, Role.ADMIN)
        await page.get_by_role("link", name="Users and keys").click()
        dialog, row = page.get_by_role("dialog"), page.locator(f'[data-user="{guard.email}"]')
        await expect(row).to_contain_text("All")
        await row.get_by_role("button", name="Choose cameras").click()
        await expect(dialog.get_by_text("No group chosen: all cameras")).to_be_visible()
        await dialog.get_by_role("button", name="Entrances").click()
        await dialog.get_by_role("button", name="Save").click()
        await expect(row).to_contain_text("Entrances")

        await page.get_by_role("button", name="Issue a key").click()
        await dialog.get_by_label("Name").fill("wall")
        await dialog.get_by_role("button", name="Entrances").click()
        await dialog.get_by_role("button", name="Issue a key").click()
        await expect(dialog.locator("output")).to_have_text(re.compile(r"^atk_"))
        await dialog.get_by_role("button", name="Close").last.click()
        await expect(page.locator("[data-key]", has_text="wall")).to_contain_text("Entrances")

        group = page.locator('[data-group="entrances"]')
        await group.get_by_role("button", name="Remove").click()
        await dialog.get_by_role("button", name="Remove").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("are limited to the group")
        assert watch.unexpected == []
    used = await groups.group("entrances")
    assert (used.users, used.keys) == (1, 1)


@pytest.mark.usefixtures("two_cameras")
async def test_who_is_limited_sees_cameras_of_the_group_alone(
    browser: Browser, world: World
) -> None:
    await world.database.groups("acme").add("entrances", "Entrances", ["gate"])
    guard = await add_user(world, "acme", Role.VIEWER, "guard")
    await world.database.users("acme").change(guard.id, UserChanges(groups=("entrances",)))
    async with opened(browser) as page:
        await as_user(page, world, guard)
        await expect(page.get_by_text("Gate", exact=True).first).to_be_visible()
        await expect(page.get_by_text("Vault", exact=True)).to_have_count(0)
