"""The page in headless Chromium over a real API: the policy, and originals with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from pipelines.domain import Stages
from serve.dashboard import is_built
from tests.browser import Watch, opened, sign_in
from tests.factories import T0_US, make_alarm, make_camera
from tests.integration.api.world import World
from tests.recorded import picture_us, segments_of, ship
from tests.walker import SIZE, TRACK, normalized, place, walk_paths, walk_units

pytestmark = pytest.mark.skipif(not is_built(), reason="the page is not built: `make dashboard`")

FRAMES, ALARM_FRAME = 100, 50


async def walk(world: World, folder: Path) -> str:
    """Four seconds of a walk with an alarm in their middle; its id."""
    records = world.database.tenant("acme")
    await records.add_camera(
        make_camera(enabled=False, recording={"pre_roll_s": 1, "post_roll_s": 1})
    )
    stages = Stages(capture_us=picture_us(T0_US, ALARM_FRAME))
    alarm = make_alarm(stages=stages, box=normalized(place(ALARM_FRAME)), track=TRACK)
    await records.record_alarms([alarm])
    files = segments_of(folder, walk_units(FRAMES, T0_US), per_segment=FRAMES, size=SIZE)
    await ship(files, world.database.recordings("acme"), world.blobs("acme"), size=SIZE)
    await world.database.tracks("acme").record_paths(walk_paths(FRAMES, T0_US))
    return str(alarm.id)


async def test_persons_are_hidden_until_somebody_says_why(
    browser: Browser, world: World, tmp_path: Path
) -> None:
    alarm = await walk(world, tmp_path)
    async with opened(browser) as page:
        watch = Watch(page)
        await sign_in(page, world.url, world.keys["acme"])
        await page.get_by_role("link", name="Users and keys").click()
        policy = page.get_by_role("region", name="Anonymised evidence")
        await policy.get_by_label("Hide on all cameras").select_option("persons")
        await policy.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("It applies from now on.")).to_be_visible()
        stored = await world.database.anonymisation("acme").policy()
        assert stored is not None
        assert str(stored.policy.hide) == "persons"

        await page.get_by_role("link", name="Live").click()
        await (
            page.locator(f'[data-alarm="{alarm}"]')
            .get_by_role("button", name="Play the clip")
            .click()
        )
        await expect(page.locator("[data-clip=ready]")).to_be_visible()
        await expect(page.get_by_text("Persons are hidden here")).to_be_visible()
        hidden = await page.get_by_label("Clip of the alarm").get_attribute("src")
        await page.get_by_role("button", name="Show the original…").click()
        await page.get_by_role("button", name="Show the original", exact=True).click()
        await expect(page.get_by_text("Say why")).to_be_visible()
        await page.get_by_label("Reason").fill("report 118/26")
        await page.get_by_role("button", name="Show the original", exact=True).click()
        await expect(page.get_by_text("You see the original.")).to_be_visible()
        assert await page.get_by_label("Clip of the alarm").get_attribute("src") != hidden
        [reveal] = await world.database.anonymisation("acme").reveals()
        assert (reveal.reason, str(reveal.alarm)) == ("report 118/26", alarm)

        await page.get_by_role("button", name="Hide it again").click()
        await expect(page.get_by_text("Persons are hidden here")).to_be_visible()
        assert watch.unexpected == []


async def test_who_may_not_reveal_is_not_asked(
    browser: Browser, world: World, tmp_path: Path
) -> None:
    alarm = await walk(world, tmp_path)
    acme = await world.client("acme")
    answer = await acme.put("/v1/policies/anonymisation", json={"hide": "persons"})
    assert answer.status_code == 200
    async with opened(browser, "pt-BR") as page:
        await sign_in(page, world.url, world.keys["acme viewer"], "Chave de acesso")
        await (
            page.locator(f'[data-alarm="{alarm}"]')
            .get_by_role("button", name="Reproduzir o vídeo")
            .click()
        )
        await expect(page.get_by_text("Aqui as pessoas estão ocultas")).to_be_visible()
        await expect(page.get_by_role("button", name="Mostrar o original")).to_have_count(0)
