"""Who may see below a camera's privacy masks does so in the dashboard, and it is logged.

The last module of its kind: the camera begins anew with its masks, and again without.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser import chromium, opened
from tests.e2e.test_dashboard import Demo, http, live_tile, number, sign_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CORNER = [[0, 0], [0.4, 0], [0.4, 0.4], [0, 0.4]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    async with opened(browser) as page:
        yield page


async def test_an_admin_sees_a_masked_camera_without_its_masks(page: Page, demo: Demo) -> None:
    await sign_in(page, demo)
    tile = await live_tile(page, demo)
    camera = await tile.get_attribute("data-camera")
    lift = tile.get_by_role("button", name="Show without privacy masks")
    await expect(lift).to_have_count(0)
    async with http(demo) as client:
        masked = await client.patch(f"/v1/cameras/{camera}", json={"masks": [CORNER]})
        masked.raise_for_status()
        try:
            await expect(lift).to_be_visible(timeout=60_000)
            await lift.click()
            await expect(tile.get_by_text("Without masks")).to_be_visible()
            before = await number(tile, "shown")

            async def plays() -> bool:
                return await number(tile, "shown") > before + 20

            await until(plays, "the room without masks", 90.0)
            answer = await client.get("/v1/audit", params={"action": "live.unmasked"})
            entries = answer.json()["entries"]
            assert {entry["object"]["id"] for entry in entries} == {camera}
            await tile.get_by_role("button", name="Show with privacy masks").click()
            await expect(tile.get_by_text("Masked", exact=True)).to_be_visible()
        finally:
            bare = await client.patch(f"/v1/cameras/{camera}", json={"masks": []})
            bare.raise_for_status()
