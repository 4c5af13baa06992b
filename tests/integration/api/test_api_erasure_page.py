"""An admin erases an object on the search page, and saves the receipt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from cluster.erasure.receipt import ReceiptKeys, verify
from cluster.erasure.runner import ErasureRunner
from serve.dashboard import is_built
from tests.browser import Watch, opened, sign_in
from tests.integration.api.erasing import fill, open_runner
from tests.integration.api.world import World

pytestmark = pytest.mark.skipif(not is_built(), reason="the page is not built: `make dashboard`")


@pytest.fixture
async def runner(world: World, tmp_path: Path) -> AsyncIterator[ErasureRunner]:
    await fill(world)
    async with open_runner(world, tmp_path) as runner:
        yield runner


async def opened_search(page: Page, world: World, who: str) -> None:
    await sign_in(page, world.url, world.keys[who])
    await page.get_by_role("link", name="Search").click()
    await expect(page.get_by_role("region", name="Seen last").locator(".match")).to_have_count(1)


async def test_an_object_is_erased_and_the_receipt_saved(
    browser: Browser, world: World, runner: ErasureRunner, tmp_path: Path
) -> None:
    async with opened(browser) as page:
        watch = Watch(page)
        await opened_search(page, world, "acme")
        await page.get_by_role("button", name="Erase…").click()
        dialog = page.get_by_role("dialog", name="Erase this object")
        await dialog.get_by_role("button", name="Erase for good").click()
        await expect(dialog.get_by_role("alert")).to_have_text("Give a reason.")
        assert await world.database.erasures("acme").erasures() == []
        await dialog.get_by_label("Reason").fill("request 2026/118")
        await dialog.get_by_role("button", name="Erase for good").click()
        await expect(dialog.get_by_text("It will begin in a moment.")).to_be_visible()
        await runner.round()
        await expect(dialog.get_by_text("nothing was found")).to_be_visible(timeout=60_000)
        async with page.expect_download() as download:
            await dialog.get_by_role("button", name="Save the receipt").click()
        saved = tmp_path / "receipt.json"
        await (await download.value).save_as(saved)
        verify(json.loads(saved.read_text()), ReceiptKeys.of(world.deps.settings).public)
        assert watch.unexpected == []


async def test_who_may_not_erase_is_not_offered_it(
    browser: Browser, world: World, runner: ErasureRunner
) -> None:
    del runner
    async with opened(browser) as page:
        await opened_search(page, world, "acme operator")
        await expect(page.get_by_role("button", name="More like this")).to_be_visible()
        await expect(page.get_by_role("button", name="Erase…")).to_have_count(0)
