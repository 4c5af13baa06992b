"""The clip of an alarm: pending, ready or none, and what opens it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from cluster.clips.clips import ClipReason, ClipState, RecordingPolicy
from cluster.core.settings import RecordingSettings
from cluster.recording.finality import settled_after_s
from cluster.stores.db import StorageUse
from pipelines.clock import ManualClock
from pipelines.domain import Alarm, Recording, Segment, Stages
from serve.api.app import create_app
from serve.api.times import rfc3339
from tests.blob_lists import listing
from tests.factories import T0_US, make_alarm, make_camera, make_path
from tests.integration.api.world import World, problem, served
from tests.recorded import FPS, GOP, picture_us, pictures, segments_of, ship, units

ALARM_AT, PRE_S, POST_S = 8, 3.1, 4
PER_SEGMENT = 2 * FPS // GOP * GOP
ALARM_US = picture_us(T0_US, ALARM_AT * FPS)
FROM_US = ALARM_US - round(PRE_S * 1_000_000)
TO_US = ALARM_US + POST_S * 1_000_000
FIRST = int((ALARM_AT - PRE_S) * FPS) // GOP * GOP
"""The picture with which a whole clip begins: the key frame at or before its start."""
END = (ALARM_AT + POST_S) * FPS
SETTLED_S = settled_after_s(RecordingSettings(), Recording(pre_roll_s=PRE_S, post_roll_s=POST_S))


@dataclass
class Case:
    """An alarm of acme eight seconds after T0, and a clock that stands five seconds after it."""

    world: World
    folder: Path
    clock: ManualClock
    client: httpx.AsyncClient
    alarm: Alarm

    async def ask(self) -> dict[str, Any]:
        response = await self.client.get(f"/v1/alarms/{self.alarm.id}/clip")
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def file(self, answer: dict[str, Any], name: str = "clip.mp4") -> Path:
        path = self.folder / name
        path.write_bytes((await self.client.get(answer["url"])).content)
        return path

    async def record(
        self,
        seconds: tuple[float, float],
        *,
        size: tuple[int, int] = (128, 96),
        codec: str = "h264",
        **row: Any,
    ) -> list[Segment]:
        """What lies from one second after T0 to another, in segments of two."""
        first = round(seconds[0] * FPS) // GOP * GOP
        content = units(round(seconds[1] * FPS), T0_US, size=size, codec=codec)[first:]
        folder = self.folder / f"spool-{first}-{size[0]}"
        files = segments_of(folder, content, per_segment=PER_SEGMENT, size=size, codec=codec)
        recordings, blobs = self.world.database.recordings("acme"), self.world.blobs("acme")
        return await ship(files, recordings, blobs, size=size, codec=codec, **row)

    def settle(self) -> None:
        self.clock.advance(SETTLED_S)


@pytest.fixture
async def case(world: World, tmp_path: Path) -> AsyncIterator[Case]:
    records = world.database.tenant("acme")
    await records.add_camera(make_camera(recording={"pre_roll_s": PRE_S, "post_roll_s": POST_S}))
    alarm = make_alarm(ALARM_AT, stages=Stages(capture_us=ALARM_US))
    await records.record_alarms([alarm])
    clock = ManualClock(alarm.capture_us + 5_000_000)
    headers = {"Authorization": f"Bearer {world.keys['acme']}"}
    async with (
        served(create_app(replace(world.deps, clock=clock))) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client,
    ):
        yield Case(world, tmp_path, clock, client, alarm)


async def test_a_clip_covers_the_alarm_and_what_surrounds_it(case: Case) -> None:
    await case.record((0, 20))

    answer = await case.ask()

    assert answer["state"] == "ready"
    assert (answer["reason"], answer["code"], answer["gaps"]) == (None, None, [])
    start_us = picture_us(T0_US, FIRST)
    assert answer["from"] == rfc3339(start_us)
    assert answer["alarm_at_s"] == (case.alarm.capture_us - start_us) / 1e6
    assert (answer["codec"], answer["width"], answer["height"]) == ("h264", 128, 96)
    assert (answer["masked"], answer["audio"], answer["encoded_from"]) == (False, False, None)
    seen = pictures(await case.file(answer), start_us)
    assert [at for at, _ in seen] == [picture_us(T0_US, n) for n in range(FIRST, END)]


async def test_above_its_storage_a_tenant_gets_the_clips_that_are_there(case: Case) -> None:
    await case.record((0, 20))
    platform, retention = case.world.database.platform(), case.world.database.retention("acme")
    use = StorageUse(recordings=900, files=100, listed_us=1, measured_us=2)
    await platform.set_quotas("acme", {"storage-bytes": 999})
    await retention.set_storage(use)
    address = f"/v1/alarms/{case.alarm.id}/clip"
    assert problem(await case.client.get(address), 507)["quota"] == "storage-bytes"
    assert await listing(case.world.blobs("acme"), "clips/" + str(case.alarm.id)[0]) == []
    # It is brought below; then a clip is made, and stays.
    await retention.set_storage(use.model_copy(update={"recordings": 1}))
    assert (await case.ask())["state"] == "ready"
    await retention.set_storage(use)
    assert (await case.ask())["state"] == "ready"


async def test_of_h265_the_clip_is_for_every_browser_and_the_export_what_was_recorded(
    case: Case,
) -> None:
    await case.record((0, 20), codec="hevc")

    answer = await case.ask()

    assert (answer["state"], answer["codec"], answer["encoded_from"]) == ("ready", "h264", "hevc")
    clip = await case.file(answer)
    assert answer["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert answer["size"] == clip.stat().st_size
    seen = pictures(clip, picture_us(T0_US, FIRST))
    assert [at for at, _ in seen] == [picture_us(T0_US, n) for n in range(FIRST, END)]
    assert codec_of(clip) == "h264"
    asked = {"camera": "gate", "from": rfc3339(FROM_US), "to": rfc3339(TO_US)}
    export = case.folder / "export.mp4"
    export.write_bytes((await case.client.get("/v1/recordings/export", params=asked)).content)
    assert codec_of(export) == "hevc"


def codec_of(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.name


async def test_the_alarm_s_own_box_is_always_beside_it(case: Case) -> None:
    await case.record((0, 20))
    answer = await case.ask()

    boxes = json.loads((await case.client.get(answer["boxes"]["json"])).content)
    vtt = await case.client.get(answer["boxes"]["vtt"])

    [frame] = boxes["frames"]
    assert frame["t"] == answer["alarm_at_s"]
    assert frame["boxes"] == [
        {
            "track": case.alarm.track,
            "class": "person",
            "confidence": 0.87,
            "box": [0.1, 0.2, 0.3, 0.4],
            "alarm": True,
        }
    ]
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
    assert vtt.text.startswith("WEBVTT\n\n00:00:03.")


async def test_what_was_seen_is_beside_it_and_outlives_the_paths(case: Case) -> None:
    tracks = case.world.database.tracks("acme")
    await case.record((0, 20))
    first = make_path(ALARM_AT, track="car")

    async def seen() -> set[str]:
        answer = await case.ask()
        boxes = json.loads((await case.client.get(answer["boxes"]["json"])).content)
        return {box["track"] for frame in boxes["frames"] for box in frame["boxes"]}

    assert await seen() == {case.alarm.track}
    await tracks.record_paths([first])
    assert await seen() == {case.alarm.track, "car"}
    case.settle()
    assert await seen() == {case.alarm.track, "car"}
    # From then on it stays as it is, whatever becomes of the paths.
    await tracks.record_paths([make_path(ALARM_AT, track="late")])
    assert await seen() == {case.alarm.track, "car"}


async def test_it_is_pending_until_all_must_be_stored(case: Case) -> None:
    answer = await case.ask()
    assert (answer["state"], answer["code"]) == ("pending", "not-stored-yet")
    assert (answer["from"], answer["to"]) == (rfc3339(FROM_US), rfc3339(TO_US))
    assert rfc3339(ALARM_US + round(SETTLED_S * 1e6)) in answer["reason"]
    assert "url" not in answer or answer["url"] is None

    await case.record((0, 10))
    assert (await case.ask())["state"] == "pending"

    case.settle()
    answer = await case.ask()
    assert answer["state"] == "ready"
    assert answer["to"] == rfc3339(2 * picture_us(T0_US, 249) - picture_us(T0_US, 248))


async def test_what_comes_late_is_still_taken_in(case: Case) -> None:
    await case.record((0, 10))
    case.settle()
    before = await case.ask()

    await case.record((10, 20))
    after = await case.ask()

    assert after["sha256"] != before["sha256"]
    assert len(pictures(await case.file(after), T0_US)) == END - FIRST


async def test_it_is_made_once_and_outlives_the_recording(case: Case) -> None:
    rows = await case.record((0, 20))
    answers = await asyncio.gather(*(case.ask() for _ in range(20)))
    assert {answer["sha256"] for answer in answers} == {answers[0]["sha256"]}
    version = await case.world.blobs("acme").stat(f"clips/{case.alarm.id}.mp4")
    for row in rows:
        await case.world.blobs("acme").delete(row.blob)
        await case.world.database.recordings("acme").remove("gate", row.start_us)

    answer = await case.ask()

    assert answer["sha256"] == answers[0]["sha256"]
    assert await case.world.blobs("acme").stat(f"clips/{case.alarm.id}.mp4") == version


async def test_a_tenant_has_so_many_in_the_making(case: Case) -> None:
    """One more is reported as being made, and made when it is requested again."""
    await case.record((0, 20))
    recording = Recording(pre_roll_s=PRE_S, post_roll_s=POST_S)
    parts = (
        *(case.alarm, RecordingPolicy(recording, SETTLED_S)),
        *(case.world.database.recordings("acme"), case.world.blobs("acme")),
    )
    maker = case.world.state.evidence.clips
    full = await maker.clip(*parts, at_most=0)
    assert (full.state, full.reason) == (ClipState.PENDING, ClipReason.BEING_MADE)
    assert maker.in_the_making("acme") == 0
    assert (await maker.clip(*parts, at_most=1)).state is ClipState.READY


async def test_a_camera_that_is_not_recorded(case: Case) -> None:
    await case.world.database.tenant("acme").remove_camera("gate")
    await case.world.database.tenant("acme").add_camera(make_camera(recording={"mode": "off"}))
    case.settle()
    case.clock.advance(60)
    answer = await case.ask()
    assert (answer["state"], answer["code"]) == ("none", "recording-off")


async def test_a_camera_that_is_gone(case: Case) -> None:
    await case.world.database.tenant("acme").remove_camera("gate")
    case.clock.advance(3_600)
    answer = await case.ask()
    assert (answer["state"], answer["code"]) == ("none", "not-recorded")
    # What it recorded before is still there.
    await case.record((0, 20))
    assert (await case.ask())["state"] == "ready"


async def test_in_a_gap_around_the_alarm_the_picture_stands_still(case: Case) -> None:
    """As when the mode was changed a moment ago: what was before and after is shown."""
    await case.record((0, 6))
    rows = await case.record((10, 20))
    case.settle()
    answer = await case.ask()
    assert answer["state"] == "ready"
    [gap] = answer["gaps"]
    assert gap["from"] < rfc3339(case.alarm.capture_us) < gap["to"] == rfc3339(rows[0].start_us)
    seen = [at for at, _ in pictures(await case.file(answer), picture_us(T0_US, FIRST))]
    assert seen == [
        picture_us(T0_US, n) for n in range(FIRST, END) if not 6 * FPS <= n < 10 * FPS // GOP * GOP
    ]


@pytest.mark.parametrize("kept", [(0, 6), (10, 20)])
async def test_one_side_of_the_alarm_alone_is_no_clip(case: Case, kept: tuple[int, int]) -> None:
    await case.record(kept)
    case.settle()
    answer = await case.ask()
    assert (answer["state"], answer["code"]) == ("none", "not-recorded")


async def test_a_gap_between_two_formats_is_no_clip(case: Case) -> None:
    await case.record((0, 6), size=(160, 96))
    await case.record((10, 20))
    case.settle()
    answer = await case.ask()
    assert (answer["state"], answer["code"]) == ("none", "not-recorded")


async def test_a_gap_elsewhere_is_told(case: Case) -> None:
    await case.record((0, 6))
    rows = await case.record((7.2, 20))
    case.settle()
    answer = await case.ask()
    assert answer["state"] == "ready"
    [gap] = answer["gaps"]
    assert gap["to"] == rfc3339(rows[0].start_us)
    seen = [at for at, _ in pictures(await case.file(answer), picture_us(T0_US, FIRST))]
    missing = range(6 * FPS, round(7.2 * FPS) // GOP * GOP)
    assert seen == [picture_us(T0_US, n) for n in range(FIRST, END) if n not in missing]


async def test_where_the_format_changed_the_part_around_the_alarm_is_taken(case: Case) -> None:
    await case.record((0, 6), size=(160, 96))
    rows = await case.record((6, 20))
    case.settle()
    answer = await case.ask()
    assert answer["state"] == "ready"
    assert answer["from"] == rfc3339(rows[0].start_us)
    assert answer["width"] == 128


@pytest.mark.parametrize(("second", "state"), [(8, "none"), (5, "ready")])
async def test_a_file_that_is_not_what_was_recorded_is_left_out(
    case: Case, second: int, state: str
) -> None:
    rows = await case.record((0, 20))
    at_us = picture_us(T0_US, second * FPS)
    broken = next(row for row in rows if row.start_us <= at_us < row.end_us)
    await case.world.blobs("acme").put(broken.blob, b"x" * broken.size)
    case.settle()
    answer = await case.ask()
    assert (answer["state"], answer["code"]) == (state, "damaged" if state == "none" else None)
    if state == "ready":
        # It began with the clip: what is left begins with the file after it.
        following = next(row for row in rows if row.start_us > broken.start_us)
        assert answer["from"] == rfc3339(following.start_us)


async def test_a_masked_recording_is_shown_as_such(case: Case) -> None:
    await case.record((0, 20), masked=True)
    assert (await case.ask())["masked"] is True


async def test_another_tenant_has_no_such_alarm(case: Case, globex: httpx.AsyncClient) -> None:
    await case.record((0, 20))
    assert (await case.ask())["state"] == "ready"
    problem(await globex.get(f"/v1/alarms/{case.alarm.id}/clip"), 404, "not-found")
