"""The page in headless Chromium over a real API: the clip of an alarm plays, with its boxes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Locator, expect

from serve.dashboard import is_built
from tests.browser import Watch, opened, sign_in
from tests.factories import T0_US, make_alarm, make_camera
from tests.integration.api.world import World, eventually
from tests.recorded import FPS, segments_of, ship, street_units

pytestmark = pytest.mark.skipif(not is_built(), reason="the page is not built: `make dashboard`")

ALARM_AT = 5


async def holds(element: Locator, question: str) -> bool:
    return bool(await element.evaluate(question))


async def alarm_of_street(
    world: World, folder: Path, *, recorded: bool = True, codec: str = "h264"
) -> str:
    """An alarm five seconds into ten seconds of a street; its id."""
    records = world.database.tenant("acme")
    await records.add_camera(
        make_camera(enabled=False, recording={"pre_roll_s": 2.9, "post_roll_s": 4})
    )
    alarm = make_alarm(ALARM_AT)
    await records.record_alarms([alarm])
    if recorded:
        content, size = street_units(T0_US, codec=codec)
        files = segments_of(folder, content, per_segment=3 * FPS, size=size, codec=codec)
        recordings, blobs = world.database.recordings("acme"), world.blobs("acme")
        await ship(files, recordings, blobs, size=size, codec=codec)
    return str(alarm.id)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
async def test_the_clip_of_an_alarm_plays_with_its_boxes(
    browser: Browser, world: World, tmp_path: Path, codec: str
) -> None:
    alarm = await alarm_of_street(world, tmp_path / "spool", codec=codec)
    async with opened(browser) as page:
        watch = Watch(page)
        await sign_in(page, world.url, world.keys["acme"])
        play = page.locator(f'[data-alarm="{alarm}"]').get_by_role("button", name="Play the clip")
        await play.focus()

        await page.keyboard.press("Enter")

        video = page.get_by_label("Clip of the alarm")
        await expect(page.locator("[data-clip=ready]")).to_be_visible()
        await eventually(lambda: holds(video, "v => v.currentTime > 0.5"), 15)
        assert await video.evaluate("v => [v.videoWidth, v.videoHeight]") == [640, 272]
        # It begins at the key frame of second two: the alarm is three seconds in.
        assert await video.evaluate("v => v.duration") == pytest.approx(7, abs=0.05)
        await page.get_by_role("button", name="To the moment of the alarm").click()
        await eventually(lambda: holds(video, "v => v.currentTime >= 3"))
        canvas = page.locator(".clip canvas")
        await video.evaluate("v => { v.pause(); v.currentTime = 3.1; }")
        await eventually(lambda: holds(canvas, "c => c.dataset.boxes === '1'"))
        await page.get_by_label("Show boxes").uncheck()
        await eventually(lambda: holds(canvas, "c => c.dataset.boxes === '0'"))

        await page.keyboard.press("Escape")
        await expect(video).to_be_hidden()
        await expect(play).to_be_focused()
        assert watch.unexpected == []
        assert not [url for url in watch.addresses if world.keys["acme"] in url]
        assert {urlsplit(url).netloc for url in watch.addresses} == {urlsplit(world.url).netloc}


@pytest.mark.parametrize(
    ("locale", "key_label", "play", "said"),
    [
        ("en-US", "Access key", "Play the clip", "This moment was not recorded"),
        ("pt-BR", "Chave de acesso", "Reproduzir o vídeo", "Este momento não foi gravado"),
    ],
)
async def test_why_there_is_no_clip_is_said_in_words(
    browser: Browser,
    world: World,
    tmp_path: Path,
    locale: str,
    key_label: str,
    play: str,
    said: str,
) -> None:
    alarm = await alarm_of_street(world, tmp_path, recorded=False)
    async with opened(browser, locale) as page:
        watch = Watch(page)
        await sign_in(page, world.url, world.keys["acme"], key_label)

        await page.locator(f'[data-alarm="{alarm}"]').get_by_role("button", name=play).click()

        await expect(page.locator("[data-clip=none]")).to_contain_text(said)
        assert watch.unexpected == []
