"""Many tabs of one person in headless Chromium, over a real API and a real stream of alarms."""

from __future__ import annotations

from functools import partial

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from cluster.core.roles import Role
from serve.dashboard import is_built
from tests.browser import Watch
from tests.factories import make_alarm
from tests.integration.api.world import PASSWORD, World, add_user, eventually

pytestmark = pytest.mark.skipif(not is_built(), reason="the page is not built: `make dashboard`")

# Browsers open six connections to a host over HTTP/1.1.
TABS = 8


async def _tabs(context: BrowserContext, world: World) -> list[Page]:
    """Tabs of one person, who signs in in the first one; it follows the stream."""
    user = await add_user(world, "acme", Role.VIEWER)
    first = await context.new_page()
    await first.goto(world.url)
    await first.get_by_label("Organization").fill("acme")
    await first.get_by_label("E-mail").fill(user.email)
    await first.get_by_label("Password").fill(PASSWORD)
    await first.keyboard.press("Enter")
    await expect(first.get_by_role("heading", name="Cameras")).to_be_visible()
    pages = [first]
    for _ in range(TABS - 1):
        page = await context.new_page()
        await page.goto(world.url)
        pages.append(page)
    return pages


async def _streams_are(world: World, count: int) -> bool:
    return world.state.alarm_feeds.listeners("acme") == count


async def _raised(world: World, number: int, pages: list[Page]) -> None:
    """Raise an alarm, which each page shows. No listener runs: it is in the stream only."""
    alarm = make_alarm(number)
    await world.stream("acme").publish(alarm)
    for page in pages:
        await expect(page.locator(f'[data-alarm="{alarm.id}"]')).to_have_count(1)


async def test_eight_tabs_share_one_stream_and_survive_the_one_that_holds_it(
    browser: Browser, world: World
) -> None:
    context = await browser.new_context(locale="en-US")
    try:
        pages = await _tabs(context, world)
        watches = [Watch(page) for page in pages]
        for page in pages:
            await expect(page.get_by_role("img", name="Live", exact=True)).to_be_visible()
        await eventually(partial(_streams_are, world, 1))
        await _raised(world, 1, pages)
        await pages[0].close()
        await _raised(world, 2, pages[1:])
        await eventually(partial(_streams_are, world, 1))
        for page in pages[1:]:
            await expect(page.locator("[data-alarm]")).to_have_count(2)
        assert [error for watch in watches for error in watch.unexpected] == []
    finally:
        await context.close()
