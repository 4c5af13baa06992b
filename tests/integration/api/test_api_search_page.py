"""The search page in headless Chromium over a real API: what was seen, narrowed by time.

The browser's person is in São Paulo, three hours behind UTC.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.async_api import Browser, Page, expect

from pipelines.domain import WorkOwner
from serve.dashboard import is_built
from tests.browser import Watch, opened, sign_in
from tests.factories import make_sighting
from tests.integration.api.test_api_search import BLUE, GREEN, RED, picture
from tests.integration.api.world import World

pytestmark = pytest.mark.skipif(not is_built(), reason="the page is not built: `make dashboard`")

BETWEEN = "2023-11-14T20:00"
"""After the person, who came at 19:13:20 there, and before the car, which came an hour later."""
BETWEEN_UTC = "2023-11-14T23:00:00.000Z"
RECENT_S = 600


@pytest.fixture(autouse=True)
async def seen(world: World) -> None:
    """A person, an hour later a car, and a dog ten minutes ago."""
    now_us = world.deps.clock.now_us()
    recent_us = now_us - RECENT_S * 1_000_000
    for sighting, colour in [
        (make_sighting(0), RED),
        (make_sighting(3600, label="car"), GREEN),
        (make_sighting(1, label="dog", first_seen_us=recent_us, last_seen_us=recent_us), BLUE),
    ]:
        vector = await world.deps.embedder.embed_image(
            np.full((4, 4, 3), colour, np.uint8), WorkOwner("acme")
        )
        await world.memory.upsert("acme", sighting, vector)
        await world.database.tracks("acme").record_objects([sighting])


@pytest.fixture
async def page(browser: Browser, world: World) -> AsyncIterator[Page]:
    """The search page; whatever it complains of fails the test."""
    async with opened(browser) as page:
        watch = Watch(page)
        await sign_in(page, world.url, world.keys["acme"])
        await page.get_by_role("link", name="Search").click()
        await shows(page, "Seen last", "dog", "car", "person")
        yield page
        assert watch.unexpected == []


async def shows(page: Page, region: str, *classes: str) -> None:
    cards = page.get_by_role("region", name=region).locator(".match")
    await expect(cards).to_contain_text([re.compile(rf"\b{label} ·") for label in classes])
    await expect(cards).to_have_count(len(classes))


def asked(address: str) -> dict[str, str]:
    """The bounds of time in an address."""
    query = parse_qs(urlsplit(address).query)
    return {name: query[name][0] for name in ("since", "until") if name in query}


async def test_what_is_listed_is_of_the_time_on_the_users_own_clock(page: Page) -> None:
    start, end = page.get_by_label("From"), page.get_by_label("To", exact=True)

    async with page.expect_request("**/v1/objects?*") as request:
        await start.fill(BETWEEN)

    assert asked((await request.value).url) == {"since": BETWEEN_UTC}
    await shows(page, "Seen last", "dog", "car")
    await end.fill("2023-11-14T21:00")
    await shows(page, "Seen last", "car")
    await start.fill("")
    await shows(page, "Seen last", "car", "person")
    async with page.expect_request("**/v1/objects?*") as request:
        await end.fill(BETWEEN)
    assert asked((await request.value).url) == {"until": BETWEEN_UTC}
    await shows(page, "Seen last", "person")
    await page.get_by_label("Class").select_option("car")
    await expect(page.get_by_text("Nothing of this kind was seen.")).to_be_visible()


async def test_the_time_holds_for_every_kind_of_search(page: Page) -> None:
    await page.get_by_label("From").fill(BETWEEN)
    await shows(page, "Seen last", "dog", "car")

    await page.get_by_role("button", name="More like this").first.click()
    await shows(page, "Results", "car")
    image = {"name": "red.png", "mimeType": "image/png", "buffer": picture(RED)}
    async with page.expect_request("**/v1/search?*") as request:
        await page.locator("input[type=file]").set_input_files(image)  # type: ignore[arg-type]

    assert asked((await request.value).url) == {"since": BETWEEN_UTC}
    results = page.get_by_role("region", name="Results").locator(".match")
    await expect(results).to_have_count(2)
    await page.get_by_role("button", name="Any time").click()
    await expect(results).to_have_count(3)
    await expect(results.first).to_contain_text("person")


async def test_a_wrong_order_is_said_beside_the_fields_and_nothing_is_sent(page: Page) -> None:
    start, end = page.get_by_label("From"), page.get_by_label("To", exact=True)
    await end.fill(BETWEEN)
    await shows(page, "Seen last", "person")
    watch = Watch(page)

    await start.fill("2023-11-14T20:01")

    said = page.get_by_role("group", name="Time").get_by_role("alert")
    await expect(said).to_have_text("“From” is later than “To”. Change one of them.")
    for field in (start, end):
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_have_accessible_description(re.compile("^“From” is later"))
    await expect(page.locator(".match")).to_have_count(0)
    await page.get_by_label("Class").select_option("person")
    await expect(said).to_be_visible()
    assert [address for address in watch.addresses if "/v1/objects" in address] == []
    await start.fill("2023-11-14T19:59")
    await expect(said).to_be_hidden()
    await expect(page.get_by_text("Nothing of this kind was seen.")).to_be_visible()
    assert [asked(address) for address in watch.addresses if "/v1/objects" in address] == [
        {"since": "2023-11-14T22:59:00.000Z", "until": BETWEEN_UTC}
    ]


async def test_quick_choices_by_keyboard(page: Page) -> None:
    hour = page.get_by_role("button", name="Last hour")
    await page.get_by_label("Colour").focus()
    # Past "Any time".
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(hour).to_be_focused()

    await page.keyboard.press("Space")

    await expect(hour).to_have_attribute("aria-pressed", "true")
    await expect(hour).to_be_focused()
    await shows(page, "Seen last", "dog")
    await page.get_by_role("button", name="Last 7 days").click()
    await expect(hour).to_have_attribute("aria-pressed", "false")
    await shows(page, "Seen last", "dog")
    start = page.get_by_label("From")
    await start.fill(BETWEEN)
    await expect(page.locator("[aria-pressed=true]")).to_have_count(0)
    await page.get_by_role("button", name="Any time").click()
    await expect(start).to_have_value("")
    await shows(page, "Seen last", "dog", "car", "person")


async def test_a_date_is_typed_and_asked_for_when_it_is_complete(page: Page) -> None:
    start = page.get_by_label("From")
    watch = Watch(page)

    # Month, day and year; the last of these is not reached.
    await start.focus()
    await page.keyboard.type("1114202")
    await expect(start).to_have_value("")
    await page.keyboard.type("30800PM")

    await expect(start).to_have_value(BETWEEN)
    await shows(page, "Seen last", "dog", "car")
    assert [asked(address) for address in watch.addresses if "/v1/objects" in address] == [
        {"since": BETWEEN_UTC}
    ]
    await start.press("Delete")
    await expect(page.get_by_text("Not complete yet")).to_be_visible()
    await expect(page.locator(".match")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
async def test_nothing_is_wider_than_its_place(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    await page.get_by_label("To", exact=True).fill(BETWEEN)
    await page.get_by_label("From").fill("2023-11-14T20:01")
    await expect(page.get_by_role("alert").last).to_be_visible()

    over = await page.evaluate(
        "() => [...document.querySelectorAll('.search-view *')]"
        ".filter(e => e.getBoundingClientRect().right >"
        " (e.closest('label.field') ?? document.documentElement).getBoundingClientRect().right)"
        ".map(e => e.outerHTML)"
    )

    assert over == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_the_filter_speaks_portuguese(browser: Browser, world: World) -> None:
    async with opened(browser, "pt-BR") as page:
        await sign_in(page, world.url, world.keys["acme"], "Chave de acesso")
        await page.get_by_role("link", name="Busca").click()
        await page.get_by_label("Até").fill(BETWEEN)
        await page.get_by_label("De", exact=True).fill("2023-11-14T20:01")
        said = page.get_by_role("group", name="Período").get_by_role("alert")
        await expect(said).to_have_text("“De” é posterior a “Até”. Altere um dos dois.")
        await page.get_by_role("button", name="Última hora").click()
        await shows(page, "Vistos por último", "cachorro")
