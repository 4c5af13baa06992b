"""What was recorded before a camera had masks: open to all, or only to who may see below them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import simplejpeg
from sqlalchemy import update

from cluster.clips.scratch import Scratch
from cluster.core.roles import Role
from cluster.remasking.job import Remasking, masked_camera
from cluster.stores.db import CameraChanges
from cluster.stores.db.models import CameraRow
from cluster.stores.db.sessions import Sessions
from pipelines.domain import AlarmSource, CameraKey, Stages
from pipelines.identity import alarm_snapshot_key, object_snapshot_key
from serve.api.app import create_app
from serve.api.times import rfc3339
from tests.factories import T0_US, make_alarm, make_camera, make_sighting
from tests.integration.api.world import World, problem, served
from tests.recorded import segments_of, ship, units

S = 1_000_000
FRAMES, PER_SEGMENT = 100, 30
BEFORE_US, MASKED_US, SINCE_US = T0_US, T0_US + 30 * S, T0_US + 60 * S
LEFT = [((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))]
JPEG = b"\xff\xd8\xff\xe0 a picture"
ALARMS = {
    at_us: make_alarm(
        n, stages=Stages(capture_us=at_us + S), snapshot=alarm_snapshot_key(make_alarm(n).id)
    )
    for n, at_us in enumerate((BEFORE_US, SINCE_US))
}


async def record(world: World, folder: Path, camera: str, start_us: int, **row: Any) -> None:
    files = segments_of(folder, units(FRAMES, start_us), per_segment=PER_SEGMENT)
    recordings, blobs = world.database.recordings("acme"), world.blobs("acme")
    await ship(files, recordings, blobs, camera, **row)


async def masked_since(world: World, since_us: int) -> None:
    """As if the gate had got its masks then."""
    async with Sessions(world.database._engine, "acme").write() as session:
        gate = update(CameraRow).where(CameraRow.id == "gate")
        await session.execute(gate.values(masks_since_us=since_us))


@pytest.fixture
async def footage(world: World, tmp_path: Path) -> None:
    """The gate got its masks between two recordings and two alarms; the yard has none."""
    records = world.database.tenant("acme")
    rolls = {"pre_roll_s": 1, "post_roll_s": 1}
    await records.add_camera(make_camera(masks=LEFT, recording=rolls))
    await masked_since(world, MASKED_US)
    await records.add_camera(make_camera(id="yard"))
    await record(world, tmp_path / "before", "gate", BEFORE_US)
    await record(world, tmp_path / "since", "gate", SINCE_US, masked=True)
    await record(world, tmp_path / "yard", "yard", BEFORE_US)
    await records.record_alarms(list(ALARMS.values()))


Serve = Callable[[Literal["allow", "block"], Role], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def client(world: World, footage: None) -> Serve:
    async def serve(policy: Literal["allow", "block"], role: Role) -> httpx.AsyncClient:
        settings = world.deps.settings
        recording = settings.recording.model_copy(update={"before_mask": policy})
        deps = replace(world.deps, settings=settings.model_copy(update={"recording": recording}))
        url = await world.stack.enter_async_context(served(create_app(deps)))
        made = await world.client(f"acme {role}")
        made.base_url = httpx.URL(url)
        return made

    return serve


async def listed(client: httpx.AsyncClient, camera: str) -> tuple[list[bool], int]:
    """Whether each file is masked, and how many are left out."""
    page = (await client.get("/v1/recordings", params={"camera": camera})).json()
    assert len(page["spans"]) == len({segment["masked"] for segment in page["segments"]})
    return [segment["masked"] for segment in page["segments"]], page["left_out"]


def export(client: httpx.AsyncClient, camera: str, start_us: int, s: int = 4) -> Any:
    asked = {"camera": camera, "from": rfc3339(start_us), "to": rfc3339(start_us + s * S)}
    return client.get("/v1/recordings/export", params=asked)


async def clip(client: httpx.AsyncClient, at_us: int) -> dict[str, Any]:
    response = await client.get(f"/v1/alarms/{ALARMS[at_us].id}/clip")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize(("policy", "role"), [("allow", Role.ANALYST), ("block", Role.ADMIN)])
async def test_all_is_open(client: Serve, policy: Literal["allow", "block"], role: Role) -> None:
    caller = await client(policy, role)
    assert await listed(caller, "gate") == ([False] * 4 + [True] * 4, 0)
    assert (await export(caller, "gate", BEFORE_US)).status_code == 200
    answer = await clip(caller, BEFORE_US)
    assert (answer["state"], answer["masked"]) == ("ready", False)


async def test_what_is_unmasked_of_a_masked_camera_is_closed(client: Serve) -> None:
    caller = await client("block", Role.ANALYST)
    assert await listed(caller, "gate") == ([True] * 4, 4)
    assert await listed(caller, "yard") == ([False] * 4, 0)
    for whole in (export(caller, "gate", BEFORE_US), export(caller, "gate", BEFORE_US, 90)):
        body = problem(await whole, 403, "forbidden")
        assert body["permission"] == "live.unmasked"
        assert "admin" in body["hint"]
    assert (await export(caller, "gate", SINCE_US)).status_code == 200
    assert (await export(caller, "yard", BEFORE_US)).status_code == 200
    closed = await clip(caller, BEFORE_US)
    assert (closed["state"], closed["code"], closed["url"]) == ("none", "before-mask", None)
    answer = await clip(caller, SINCE_US)
    assert (answer["state"], answer["masked"]) == ("ready", True)


async def test_what_is_left_of_a_removed_camera_is_open_with_masks_only(
    world: World, client: Serve
) -> None:
    """Its masks went with it, and so did what knows since when it had them."""
    await world.database.tenant("acme").remove_camera("gate")
    caller = await client("block", Role.ANALYST)
    assert await listed(caller, "gate") == ([True] * 4, 4)
    assert await listed(caller, "yard") == ([False] * 4, 0)
    problem(await export(caller, "gate", BEFORE_US), 403, "forbidden")
    assert (await clip(caller, BEFORE_US))["code"] == "before-mask"
    everybody = await client("allow", Role.ANALYST)
    assert await listed(everybody, "gate") == ([False] * 4 + [True] * 4, 0)


async def test_masks_that_were_added_later_close_what_has_fewer(
    world: World, client: Serve
) -> None:
    """All that was recorded until then, although a mask is painted into a part of it."""
    caller = await client("block", Role.ANALYST)
    assert (await export(caller, "gate", SINCE_US)).status_code == 200
    right = [((0.5, 0.0), (1.0, 0.0), (1.0, 1.0))]
    records = world.database.tenant("acme")
    await records.update_camera("gate", CameraChanges(masks=LEFT + right))
    assert await listed(caller, "gate") == ([], 8)
    problem(await export(caller, "gate", SINCE_US), 403, "forbidden")
    assert (await clip(caller, SINCE_US))["code"] == "before-mask"
    admin = await client("block", Role.ADMIN)
    assert await listed(admin, "gate") == ([False] * 4 + [True] * 4, 0)
    # Without any mask nothing is hidden from anybody any more.
    await records.update_camera("gate", CameraChanges(masks=[]))
    assert await listed(caller, "gate") == ([False] * 4 + [True] * 4, 0)


@pytest.fixture
async def pictures(world: World, footage: None) -> dict[str, int]:
    """Pictures of alarms and objects, and of what is not known any more: when each is from."""
    blobs, tracks = world.blobs("acme"), world.database.tracks("acme")
    found = {f"/v1/alarms/{alarm.id}/snapshot": at_us for at_us, alarm in ALARMS.items()}
    keys = {alarm_snapshot_key(alarm.id): at_us for at_us, alarm in ALARMS.items()}
    for at_us in (BEFORE_US, SINCE_US):
        for camera in ("gate", "yard"):
            seen = make_sighting(
                camera=camera,
                track=f"t-{at_us}",
                first_seen_us=at_us,
                last_seen_us=at_us + 40 * S,
                snapshot=object_snapshot_key(camera, f"t-{at_us}"),
            )
            await tracks.record_objects([seen], AlarmSource.LIVE)
            keys[object_snapshot_key(camera, f"t-{at_us}")] = (
                at_us if camera == "gate" else SINCE_US
            )
    keys[object_snapshot_key("gate", "nobody knows")] = BEFORE_US
    keys[object_snapshot_key("yard", "nobody knows")] = SINCE_US
    keys[alarm_snapshot_key(make_alarm(99).id)] = BEFORE_US
    for key in keys:
        await blobs.put(key, JPEG)
    return found | {f"/v1/snapshots/{key}": at_us for key, at_us in keys.items()}


async def test_pictures_from_before_are_closed_too(client: Serve, pictures: dict[str, int]) -> None:
    assert len(pictures) == 11
    caller, admin = await client("block", Role.ANALYST), await client("block", Role.ADMIN)
    everybody = await client("allow", Role.ANALYST)
    for path, at_us in pictures.items():
        answer = await caller.get(path)
        if at_us < MASKED_US:
            assert problem(answer, 403, "forbidden")["permission"] == "live.unmasked", path
        else:
            assert (answer.status_code, answer.content) == (200, JPEG), path
        for other in (admin, everybody):
            assert (await other.get(path)).content == JPEG


async def test_a_link_from_before_the_masks_opens_nothing(world: World, client: Serve) -> None:
    caller = await client("block", Role.ADMIN)
    pages = {c: (await caller.get("/v1/recordings", params={"camera": c})).json()
             for c in ("gate", "yard")}  # fmt: skip
    links = {camera: page["segments"][0]["url"] for camera, page in pages.items()}
    for link in links.values():
        assert (await caller.get(link)).status_code == 200
    # A second later, by the clock that signs.
    await masked_since(world, world.deps.clock.now_us() + S)
    body = problem(await caller.get(links["gate"]), 403, "forbidden")
    assert "before the camera had its privacy masks" in str(body["detail"])
    assert (await caller.get(links["yard"])).status_code == 200


async def test_what_got_its_masks_afterwards_is_open_until_there_is_another_mask(
    world: World, client: Serve, tmp_path: Path
) -> None:
    blobs, records = world.blobs("acme"), world.database.tenant("acme")
    alarm = ALARMS[BEFORE_US]
    white = np.full((96, 128, 3), 200, np.uint8)
    await blobs.put(alarm_snapshot_key(alarm.id), simplejpeg.encode_jpeg(white))
    # Far from the mask on the left.
    key = object_snapshot_key("gate", "t")
    seen = make_sighting(track="t", first_seen_us=BEFORE_US, box=(0.8, 0.2, 0.9, 0.4), snapshot=key)
    await world.database.tracks("acme").record_objects([seen], AlarmSource.LIVE)
    await blobs.put(key, JPEG)
    scratch = Scratch(tmp_path / "scratch", 1)
    job = Remasking(
        await masked_camera(world.database, CameraKey("acme", "gate")),
        database=world.database,
        blobs=blobs,
        scratch=scratch,
        clock=world.deps.clock,
    )
    done = await job.run()
    scratch.close()
    assert (done.recordings, done.pictures, done.failed) == (4, 1, 0)
    caller = await client("block", Role.ANALYST)
    page = (await caller.get("/v1/recordings", params={"camera": "gate"})).json()
    assert [segment["masked"] for segment in page["segments"]] == [True] * 8
    assert page["left_out"] == 0
    assert (await export(caller, "gate", BEFORE_US)).status_code == 200
    answer = await clip(caller, BEFORE_US)
    assert (answer["state"], answer["masked"]) == ("ready", True)
    shown = f"/v1/alarms/{alarm.id}/snapshot", f"/v1/snapshots/{key}"
    for path in (*shown, f"/v1/snapshots/{alarm_snapshot_key(alarm.id)}"):
        assert (await caller.get(path)).status_code == 200
    right = [((0.5, 0.0), (1.0, 0.0), (1.0, 1.0))]
    await records.update_camera("gate", CameraChanges(masks=LEFT + right))
    assert await listed(caller, "gate") == ([], 8)
    assert (await clip(caller, BEFORE_US))["code"] == "before-mask"
    for path in shown:
        problem(await caller.get(path), 403, "forbidden")
