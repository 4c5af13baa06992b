"""The page as a person sees it: headless Chromium against the running demo.

Needs the fixture `demo` with `.api` (base URL) and `.keys` (tenant -> key). Every test fails on a
console error that it did not announce, and on a key in any address that the browser asked for.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.browser import Watch, chromium, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

TENANT = "acme"
START_TIMEOUT_S = 60.0
ALARM_TIMEOUT_S = 90.0
EXACT_TIMEOUT_S = 120.0
FRAMES = 50
EXACT_FRAMES = 20
# A matter of speed, so only a floor, for some stretch of JUDGED_FRAMES: 41 to 88 % were seen on two
# cores that the browser shares with the demo, 15 % while others used them. Detection that takes
# longer than the 250 ms for which the picture is held back lowers it; what is shown as exact is
# exact at any speed.
MIN_EXACT_SHARE = 0.2
JUDGED_FRAMES = 50


class Demo(Protocol):
    api: str
    keys: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests, each of which has a context of its own: its start takes 2 s."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    async with opened(browser) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="module")
async def watch(page: Page, demo: Demo) -> AsyncIterator[Watch]:
    watch = Watch(page)
    yield watch
    assert watch.unexpected == []
    leaks = [url for url in watch.addresses for key in demo.keys.values() if key in url]
    assert leaks == []
    # Nothing but our own origin and the LiveKit server, and that on this machine.
    hosts = {urlsplit(url).hostname for url in watch.addresses if not url.startswith("blob:")}
    assert hosts <= {urlsplit(demo.api).hostname, "127.0.0.1"}


async def by_key(page: Page, key: str) -> None:
    """Fill in the form for keys, which is the second one."""
    await page.get_by_role("button", name="Access key").click()
    await page.get_by_label("Access key").fill(key)


async def sign_in(page: Page, demo: Demo, tenant: str = TENANT, *, remember: bool = False) -> None:
    await page.goto(f"{demo.api}/?debug")
    await by_key(page, demo.keys[tenant])
    if remember:
        await page.get_by_label("Keep me signed in").check()
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()


async def until(
    probe: Callable[[], Awaitable[bool]], what: str, timeout_s: float = START_TIMEOUT_S
) -> None:
    deadline = time.monotonic() + timeout_s
    while not await probe():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        await asyncio.sleep(0.25)


async def number(tile: Locator, name: str) -> int:
    return int(await tile.get_attribute(f"data-{name}") or 0)


def http(demo: Demo, tenant: str = TENANT) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {demo.keys[tenant]}"}
    return httpx.AsyncClient(base_url=demo.api, headers=headers, timeout=10)


async def cameras(demo: Demo, tenant: str = TENANT) -> list[dict[str, str]]:
    async with http(demo, tenant) as client:
        answer = await client.get("/v1/cameras")
        answer.raise_for_status()
        listed: list[dict[str, str]] = answer.json()["cameras"]
        return listed


async def live_tile(page: Page, demo: Demo) -> Locator:
    """The tile of the first camera that is live."""

    async def some_is_live() -> bool:
        return any(camera["state"] == "live" for camera in await cameras(demo))

    await until(some_is_live, "a live camera")
    first = next(camera for camera in await cameras(demo) if camera["state"] == "live")
    return page.locator(f'[data-camera="{first["id"]}"]')


async def test_a_wrong_key_is_told_and_lets_nobody_in(page: Page, demo: Demo, watch: Watch) -> None:
    watch.expect(r"status of 401")
    await page.goto(demo.api)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("Enter organization, e-mail and password.")
    await by_key(page, "")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("Enter your access key.")
    await page.get_by_label("Access key").fill("atk_00000000_" + "x" * 43)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("not known, or was revoked")
    await expect(page.get_by_role("heading", name="Cameras")).to_have_count(0)


async def test_the_description_of_the_api_needs_no_other_host(
    page: Page, demo: Demo, watch: Watch
) -> None:
    """Read and tried out on the page itself, where `watch` sees every request and complaint."""
    await page.goto(f"{demo.api}/docs")
    listed = page.locator('.opblock-summary-path[data-path="/v1/cameras/{camera}/join"]')
    await expect(listed).to_be_visible()
    session = page.locator("#operations-platform-session_v1_session_get")
    await page.get_by_role("button", name="Authorize").click()
    await page.locator(".auth-container input").fill(demo.keys[TENANT])
    await page.locator(".auth-container button.authorize").click()
    await page.locator(".modal-ux").get_by_role("button", name="Close").click()
    await session.locator(".opblock-summary").click()
    await session.get_by_role("button", name="Try it out").click()
    await session.get_by_role("button", name="Execute").click()
    await expect(session.locator(".live-responses-table")).to_contain_text(f'"tenant": "{TENANT}"')


async def test_the_platform_key_is_no_tenant_key(page: Page, demo: Demo, watch: Watch) -> None:
    if "platform" not in demo.keys:
        pytest.skip("this demo has no platform key")
    await page.goto(demo.api)
    await by_key(page, demo.keys["platform"])
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("Use a key of your tenant")


async def test_the_key_is_kept_only_where_asked(page: Page, demo: Demo, watch: Watch) -> None:
    await sign_in(page, demo)
    stored = "() => JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])"
    assert demo.keys[TENANT] not in await page.evaluate(stored)
    await page.reload()
    await expect(page.get_by_label("Password")).to_be_visible()

    await sign_in(page, demo, remember=True)
    await page.reload()
    await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Password")).to_be_visible()
    assert demo.keys[TENANT] not in await page.evaluate(stored)


async def test_a_viewer_of_the_demo_signs_in_and_only_watches(
    page: Page, demo: Demo, watch: Watch
) -> None:
    who = demo.users[TENANT]["viewer"]
    await page.goto(demo.api)
    await page.get_by_label("Organization").fill(TENANT)
    await page.get_by_label("E-mail").fill(who["email"])
    await page.get_by_label("Password").fill(who["password"])
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
    await expect(page.locator("[data-camera]")).to_have_count(len(await cameras(demo)))
    await expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(["Live"])
    await expect(page.get_by_role("button", name="Add camera")).to_have_count(0)


async def test_each_tenant_sees_its_own_cameras(page: Page, demo: Demo, watch: Watch) -> None:
    for tenant in sorted(set(demo.keys) - {"platform"}):
        await sign_in(page, demo, tenant)
        expected = sorted(camera["id"] for camera in await cameras(demo, tenant))
        tiles = page.locator("article.tile")
        await expect(tiles).to_have_count(len(expected))
        ids = await tiles.evaluate_all("tiles => tiles.map(tile => tile.dataset.camera).sort()")
        assert ids == expected
        await page.get_by_role("button", name="Sign out").click()


async def test_live_cameras_play(page: Page, demo: Demo, watch: Watch) -> None:
    await sign_in(page, demo)
    await live_tile(page, demo)
    for camera in await cameras(demo):
        if camera["state"] != "live":
            continue
        tile = page.locator(f'[data-camera="{camera["id"]}"]')
        await tile.scroll_into_view_if_needed()
        video = tile.locator("video")

        async def plays(tile: Locator = tile) -> bool:
            return await number(tile, "shown") >= FRAMES

        await until(plays, f"{FRAMES} pictures of {camera['id']} shown")
        assert await video.evaluate("video => video.videoWidth") > 0
        before = await video.evaluate("video => video.currentTime")
        shown = await number(tile, "shown")
        await page.wait_for_timeout(1_500)
        assert await video.evaluate("video => video.currentTime") > before
        assert await number(tile, "shown") > shown
        await expect(tile.locator(".chip")).to_have_text("Live")


async def test_boxes_are_on_the_frame_they_were_computed_on(
    page: Page, demo: Demo, watch: Watch, record_property: Callable[[str, object], None]
) -> None:
    await sign_in(page, demo)
    await live_tile(page, demo)
    tiles = page.locator("article.tile")

    async def boxes_were_seen() -> bool:
        drawn = [await number(tile, "boxes") for tile in await tiles.all()]
        return max(drawn, default=0) > 0

    async def judged() -> tuple[int, int]:
        """Frames with their own boxes, and frames whose boxes came late, of all tiles."""
        there = await tiles.all()
        exact = [await number(tile, "exact") for tile in there]
        late = [await number(tile, "late") for tile in there]
        return sum(exact), sum(late)

    await until(boxes_were_seen, "a box on a picture")
    begin = await judged()
    shares: list[float] = []

    async def enough() -> bool:
        nonlocal begin
        now = await judged()
        exact, late = now[0] - begin[0], now[1] - begin[1]
        if exact + late >= JUDGED_FRAMES:
            shares.append(exact / (exact + late))
            begin = now
        frames = max([await number(tile, "exact") for tile in await tiles.all()], default=0)
        return frames >= EXACT_FRAMES and max(shares, default=0) >= MIN_EXACT_SHARE

    what = f"{EXACT_FRAMES} frames with their own boxes, and {MIN_EXACT_SHARE:.0%} of some stretch"
    await until(enough, what, EXACT_TIMEOUT_S)
    record_property("exact_shares", shares)


async def test_an_alarm_appears_and_is_acknowledged(page: Page, demo: Demo, watch: Watch) -> None:
    await sign_in(page, demo)
    await expect(page.get_by_role("img", name="Live", exact=True)).to_be_visible(timeout=20_000)
    begin_ms = time.time() * 1e3

    async def newest() -> str | None:
        """The alarm at the top of the list, if it was raised since the page was opened."""
        found: str | None = await page.locator("[data-alarm]").evaluate_all(
            """(items, since) => items.filter(item =>
                 Date.parse(item.querySelector('time').dateTime) > since)[0]?.dataset.alarm ?? null
            """,
            begin_ms,
        )
        return found

    async def one_came() -> bool:
        return await newest() is not None

    await until(one_came, "a new alarm", ALARM_TIMEOUT_S)
    alarm = await newest()
    item = page.locator(f'[data-alarm="{alarm}"]')
    # Pictures are loaded where they can be seen, and others may have come above it meanwhile.
    await item.scroll_into_view_if_needed()
    await expect(item.locator("img")).to_be_visible(timeout=15_000)
    assert await item.locator("img").evaluate("image => image.naturalWidth") > 0
    await item.get_by_role("button", name="Acknowledge").click()
    await expect(item.get_by_role("img", name=re.compile("^Acknowledged"))).to_be_visible()
    async with http(demo) as client:
        listed = (await client.get("/v1/alarms", params={"limit": 100})).json()["alarms"]
    assert next(a["state"] for a in listed if a["id"] == alarm) == "acknowledged"


async def test_a_zone_is_drawn_stored_and_deleted(page: Page, demo: Demo, watch: Watch) -> None:
    name = f"drawn {uuid4().hex[:8]}"
    await sign_in(page, demo)
    tile = await live_tile(page, demo)
    camera = await tile.get_attribute("data-camera")
    await tile.get_by_role("button", name="Rules").click()
    area = page.get_by_role("application", name="Drawing area")
    await expect(area).to_be_visible()
    await page.get_by_role("button", name="Add rule").click()
    await expect(page.get_by_role("alert").last).to_have_text("Draw it on the picture first.")
    box = await area.bounding_box()
    assert box is not None
    corners = [(0.2, 0.3), (0.8, 0.3), (0.8, 0.9), (0.2, 0.9)]
    for x, y in corners:
        await page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    await page.get_by_label("Raise an alarm when").select_option("loiter")
    await page.get_by_label("Name (optional)").fill(name)
    await page.get_by_label("Seconds").fill("86400")
    await page.get_by_role("button", name="Add rule").click()
    listed = page.locator(".rule-list li", has_text=name)
    await expect(listed).to_be_visible()

    async with http(demo) as client:
        rules = (await client.get(f"/v1/cameras/{camera}/rules")).json()["rules"]
        rule = next(r for r in rules if r.get("name") == name)
        assert (rule["kind"], rule["seconds"]) == ("loiter", 86_400)
        for drawn, wanted in zip(rule["polygon"], corners, strict=True):
            assert drawn == pytest.approx(wanted, abs=0.01)
        await listed.get_by_role("button", name="Delete rule").click()
        await expect(listed).to_have_count(0)
        rules = (await client.get(f"/v1/cameras/{camera}/rules")).json()["rules"]
    assert all(r.get("name") != name for r in rules)


async def test_search_by_picture(page: Page, demo: Demo, watch: Watch, tmp_path: Path) -> None:
    await sign_in(page, demo)
    tile = await live_tile(page, demo)
    async with http(demo) as client:
        camera = await tile.get_attribute("data-camera")
        answer = await client.get(f"/v1/cameras/{camera}/snapshot")
        answer.raise_for_status()
    picture = tmp_path / "now.jpg"
    picture.write_bytes(answer.content)
    await page.get_by_role("link", name="Search").click()
    await page.locator("input[type=file]").set_input_files(picture)
    result = page.locator(".match").first.or_(page.get_by_text("Nothing alike was seen."))
    await expect(result).to_be_visible(timeout=30_000)


async def test_more_like_an_object_that_was_seen(page: Page, demo: Demo, watch: Watch) -> None:
    """What was seen last is there without asking; a click asks for others like it."""
    await sign_in(page, demo)

    async def some() -> bool:
        async with http(demo) as client:
            return len((await client.get("/v1/objects")).json()["objects"]) > 3

    await until(some, "objects")
    await page.get_by_role("link", name="Search").click()
    recent = page.get_by_role("region", name="Seen last")
    await expect(recent.locator(".match img").first).to_be_visible(timeout=30_000)
    # The oldest of them: the embedder has had time for it.
    await recent.get_by_role("button", name="More like this").last.click()
    results = page.get_by_role("region", name="Results")
    await expect(results.get_by_text("% alike").first).to_be_visible(timeout=30_000)
    await page.get_by_label("Colour").select_option("pink")
    await page.locator("fieldset select").first.select_option(index=1)
    await page.get_by_role("button", name="Back to what was seen last").click()
    await page.get_by_label("Colour").select_option("")
    await expect(recent).to_be_visible(timeout=30_000)


async def test_the_page_speaks_portuguese(page: Page, demo: Demo, watch: Watch) -> None:
    await page.goto(demo.api)
    await page.get_by_label("Language").select_option("pt-BR")
    await expect(page.get_by_label("Organização")).to_be_visible()
    await expect(page.get_by_role("button", name="Chave de acesso")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "pt-BR"
