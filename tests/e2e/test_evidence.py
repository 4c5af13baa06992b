"""The clip of an alarm in the running demo: it becomes ready, covers its moment, and plays."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from cluster.clips.manifest import Manifest, verify
from tests.browser import Watch, chromium, opened, sign_in
from tests.e2e.conftest import Demo

TENANT = "acme"
ALARM_TIMEOUT_S = 90.0
# Pre-roll, post-roll, a file of ten seconds and its way into the storage, on a busy machine.
READY_TIMEOUT_S = 180.0


@pytest.fixture
async def client(demo: Demo) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {demo.keys[TENANT]}"}
    async with httpx.AsyncClient(base_url=demo.api, headers=headers, timeout=60) as client:
        yield client


async def ready_clip(client: httpx.AsyncClient) -> tuple[dict[str, Any], dict[str, Any]]:
    """The newest alarm whose clip is ready, and the clip: the page's feed holds 300 alarms, and the
    demo may have raised more, live and by jobs."""
    deadline = time.monotonic() + ALARM_TIMEOUT_S + READY_TIMEOUT_S
    states: dict[str, str] = {}
    while time.monotonic() < deadline:
        alarms = (await client.get("/v1/alarms", params={"limit": 500})).json()["alarms"]
        for alarm in alarms:
            clip = (await client.get(f"/v1/alarms/{alarm['id']}/clip")).raise_for_status().json()
            if clip["state"] == "ready":
                return alarm, clip
            states[alarm["id"]] = f"{clip['state']}: {clip['reason']}"
        await asyncio.sleep(2)
    pytest.fail(f"no clip is ready: {states}")


async def holds(element: Locator, question: str) -> bool:
    return bool(await element.evaluate(question))


async def until(element: Locator, question: str, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not await holds(element, question):
        assert time.monotonic() < deadline, f"not within {within_s} s: {question}"
        await asyncio.sleep(0.1)


async def test_the_clip_of_an_alarm_covers_its_moment(
    client: httpx.AsyncClient, demo: Demo, tmp_path: Path
) -> None:
    alarm, clip = await ready_clip(client)
    at = datetime.fromisoformat(alarm["at"])
    assert datetime.fromisoformat(clip["from"]) <= at < datetime.fromisoformat(clip["to"])
    async with httpx.AsyncClient(base_url=demo.api) as anonymous:
        video = await anonymous.get(clip["url"])
        seen = (await anonymous.get(clip["boxes"]["json"])).json()
    assert hashlib.sha256(video.content).hexdigest() == clip["sha256"]
    file = tmp_path / "clip.mp4"
    file.write_bytes(video.content)
    start = datetime.fromisoformat(clip["from"])
    with av.open(str(file)) as container:
        times = [start + timedelta(seconds=float(f.time or 0)) for f in container.decode(video=0)]
    # The very frame of the alarm is in it, to the microsecond.
    assert min(abs((shown - at).total_seconds()) for shown in times) < 2e-6
    own = [
        (frame["t"], box) for frame in seen["frames"] for box in frame["boxes"] if box.get("alarm")
    ]
    assert [t for t, _ in own] == [pytest.approx(clip["alarm_at_s"], abs=1e-3)]


async def test_the_clip_plays_in_the_page(client: httpx.AsyncClient, demo: Demo) -> None:
    alarm, _ = await ready_clip(client)
    async with chromium() as browser, opened(browser) as page:
        watch = Watch(page)
        await sign_in(page, demo.api, demo.keys[TENANT])
        await shown(page, alarm["id"])
        item = page.locator(f'[data-alarm="{alarm["id"]}"]')
        await item.get_by_role("button", name="Play the clip").click()

        await expect(page.locator("[data-clip=ready]")).to_be_visible(timeout=30_000)
        video = page.get_by_label("Clip of the alarm")
        await until(video, "v => v.videoWidth > 0 && v.currentTime > 0.5")
        before = await video.evaluate("v => v.currentTime")
        await until(video, f"v => v.currentTime > {before} + 1 || v.ended")
        await page.get_by_role("button", name="To the moment of the alarm").click()
        await until(page.locator(".clip canvas"), "c => Number(c.dataset.boxes) > 0")
        assert watch.unexpected == []
        assert not [url for url in watch.addresses if demo.keys[TENANT] in url]


async def shown(page: Page, alarm: str) -> None:
    """Page back in the feed until the alarm is in it."""
    more = page.get_by_role("button", name="Earlier alarms")
    await expect(page.locator("[data-alarm]").first).to_be_visible(timeout=30_000)
    while await page.locator(f'[data-alarm="{alarm}"]').count() == 0:
        await more.click()
        await asyncio.sleep(0.5)


async def test_what_surrounds_an_alarm_is_exported_and_verified(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    alarm, clip = await ready_clip(client)
    asked = {"camera": alarm["camera"], "from": clip["from"], "to": clip["to"]}
    listed = (await client.get("/v1/recordings", params=asked)).json()
    assert listed["segments"]

    response = await client.get("/v1/recordings/export", params=asked)

    file = tmp_path / "export.mp4"
    file.write_bytes(response.raise_for_status().content)
    address = response.headers["link"].partition(">")[0][1:]
    manifest = Manifest.model_validate((await client.get(address)).json())
    verify(file, manifest)
    known = {segment["sha256"] for segment in listed["segments"]}
    assert {source.sha256 for source in manifest.sources} <= known
