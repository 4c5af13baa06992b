"""The clip of an alarm: pending, ready or none, and what opens it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from pipelines.domain import Alarm
from tests.factories import T0_US, make_alarm, make_camera
from tests.integration.api.world import World
from tests.recorded import FPS, GOP, picture_us, pictures, segments_of, ship, units

SECONDS, ALARM_AT = 20, 8


async def raised(world: World, **fields: Any) -> Alarm:
    """An alarm of acme, `ALARM_AT` seconds after the recording began, in the records."""
    alarm = make_alarm(ALARM_AT, **fields)
    await world.database.tenant("acme").record_alarms([alarm])
    return alarm


async def record(world: World, folder: Path) -> None:
    content = units(SECONDS * FPS, T0_US)
    files = segments_of(folder, content, per_segment=4 * FPS)
    await ship(files, world.database.recordings("acme"), world.blobs("acme"))


async def test_a_clip_covers_the_alarm_and_what_surrounds_it(
    acme: httpx.AsyncClient, anonymous: httpx.AsyncClient, world: World, tmp_path: Path
) -> None:
    await record(world, tmp_path / "spool")
    await world.database.tenant("acme").add_camera(
        make_camera(recording={"pre_roll_s": 3.1, "post_roll_s": 4})
    )
    alarm = await raised(world)

    answer = (await acme.get(f"/v1/alarms/{alarm.id}/clip")).json()

    assert answer["state"] == "ready"
    assert answer["reason"] is None
    video = await anonymous.get(answer["url"])
    assert video.headers["content-type"] == "video/mp4"
    file = tmp_path / "clip.mp4"
    file.write_bytes(video.content)
    wanted = int((ALARM_AT - 3.1) * FPS)
    first, end = wanted // GOP * GOP, (ALARM_AT + 4) * FPS
    seen = pictures(file, picture_us(T0_US, first))
    assert [at for at, _ in seen] == [picture_us(T0_US, n) for n in range(first, end)]
    boxes = json.loads((await anonymous.get(answer["boxes"]["json"])).content)
    [frame] = boxes["frames"]
    assert picture_us(T0_US, first) + round(frame["t"] * 1_000_000) == alarm.capture_us
    vtt = await anonymous.get(answer["boxes"]["vtt"])
    assert vtt.text.startswith("WEBVTT\n")
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
