"""Persons are hidden in snapshots, clips and exports, until somebody may see them and says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import simplejpeg

from cluster.clips.manifest import HIDDEN
from cluster.stores.audit.chain import AuditEntry
from cluster.stores.db import StorageUse
from pipelines.clock import ManualClock
from pipelines.domain import Alarm, AlarmSource, Stages
from pipelines.identity import object_snapshot_key
from pipelines.imaging import crop_jpeg
from serve.api.app import create_app
from serve.api.times import rfc3339
from tests.blob_lists import listing
from tests.factories import T0_US, make_alarm, make_analysed, make_camera, make_sighting
from tests.integration.api.world import World, eventually, logged, problem, served
from tests.recorded import picture_us, segments_of, ship
from tests.walker import (
    SIZE,
    TRACK,
    Luma,
    apart,
    looks_like,
    lumas,
    normalized,
    outside,
    place,
    scene,
    walk_paths,
    walk_units,
)

FRAMES, ALARM_FRAME = 150, 75
ALARM_US = picture_us(T0_US, ALARM_FRAME)
END_US = picture_us(T0_US, FRAMES)
# From a key frame on, one second before and after the alarm.
FIRST, LAST = 50, 100
POLICY = "/v1/policies/anonymisation"
PERSONS = {"hide": "persons"}
REASON = "report 118/26"
LONG = {"from": "2023-01-01T00:00:00Z", "to": "2023-01-02T00:00:00Z"}
REACH, LOSS = 24, 4.0


@dataclass
class Case:
    """A walk of six seconds past acme's camera, with an alarm, and a clock a minute later."""

    world: World
    url: str
    clock: ManualClock
    folder: Path
    alarm: Alarm
    admin: httpx.AsyncClient

    async def client(self, who: str) -> httpx.AsyncClient:
        """Another client of the same API."""
        headers = {"Authorization": f"Bearer {self.world.keys[who]}"}
        client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)
        return await self.world.stack.enter_async_context(client)

    async def policy(self, **policy: Any) -> None:
        response = await self.admin.put(POLICY, json=policy)
        assert response.status_code == 200, response.text

    async def reveal(self, client: httpx.AsyncClient | None = None, **body: Any) -> dict[str, Any]:
        wanted = body or {"alarm": str(self.alarm.id)}
        response = await (client or self.admin).post(
            "/v1/reveals", json={"reason": REASON} | wanted
        )
        assert response.status_code == 201, response.text
        made: dict[str, Any] = response.json()
        return made

    async def snapshot(self, client: httpx.AsyncClient | None = None) -> httpx.Response:
        return await (client or self.admin).get(f"/v1/alarms/{self.alarm.id}/snapshot")

    async def clip(self, client: httpx.AsyncClient | None = None) -> dict[str, Any]:
        """The clip, once it is ready."""
        found: dict[str, Any] = {}

        async def ready() -> bool:
            response = await (client or self.admin).get(f"/v1/alarms/{self.alarm.id}/clip")
            assert response.status_code == 200, response.text
            found.update(response.json())
            assert found["state"] != "none"
            return bool(found["state"] == "ready")

        await eventually(ready)
        return found

    async def frames(self, url: str) -> list[Luma]:
        response = await self.admin.get(url)
        assert response.status_code == 200, response.text
        return self.decoded(response.content)

    def decoded(self, video: bytes) -> list[Luma]:
        path = self.folder / "seen.mp4"
        path.write_bytes(video)
        return lumas(path)

    def export(self, **more: Any) -> dict[str, Any]:
        stretch = {
            "from": rfc3339(picture_us(T0_US, FIRST)),
            "to": rfc3339(picture_us(T0_US, LAST)),
        }
        return {"camera": "gate", **stretch, **more}


def jpeg_of(luma: Luma) -> bytes:
    return crop_jpeg(np.repeat(luma[..., None], 3, axis=2), 95)


def seen(jpeg: bytes) -> Luma:
    gray: Luma = simplejpeg.decode_jpeg(jpeg, colorspace="GRAY")[..., 0]
    return gray


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("walk")
    return segments_of(folder / "spool", walk_units(FRAMES, T0_US), per_segment=50, size=SIZE)


@pytest.fixture
def after_s() -> float:
    """How long after the start of the walk it is."""
    return 66.0


@pytest.fixture
async def case(world: World, tmp_path: Path, walk: Any, after_s: float) -> AsyncIterator[Case]:
    records, blobs = world.database.tenant("acme"), world.blobs("acme")
    await records.add_camera(make_camera(recording={"pre_roll_s": 1, "post_roll_s": 1}))
    alarm = make_alarm(
        stages=Stages(capture_us=ALARM_US), box=normalized(place(ALARM_FRAME)), track=TRACK
    )
    alarm = alarm.model_copy(update={"snapshot": f"alarms/{alarm.id}.jpg"})
    await records.record_alarms([alarm])
    await blobs.put(f"alarms/{alarm.id}.jpg", jpeg_of(scene(ALARM_FRAME)))
    await ship(walk, world.database.recordings("acme"), blobs, size=SIZE)
    await world.database.tracks("acme").record_paths(walk_paths(FRAMES, T0_US))
    clock = ManualClock(T0_US + round(after_s * 1_000_000))
    headers = {"Authorization": f"Bearer {world.keys['acme']}"}
    async with (
        served(create_app(replace(world.deps, clock=clock))) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client,
    ):
        yield Case(world, url, clock, tmp_path, alarm, client)


def assert_hidden(frames: list[Luma]) -> None:
    """What begins with picture FIRST."""
    assert LAST - FIRST <= len(frames) <= LAST - FIRST + 1
    for n, luma in enumerate(frames, FIRST):
        assert abs(looks_like(luma, place(n))) < 0.1, n
        assert apart(luma, scene(n))[outside(n, REACH)].mean() < LOSS, n


def assert_shown(frames: list[Luma]) -> None:
    assert LAST - FIRST <= len(frames) <= LAST - FIRST + 1
    assert all(looks_like(luma, place(n)) > 0.8 for n, luma in enumerate(frames, FIRST))


# ------------------------------------------------------------ policy


async def test_nobody_is_hidden_by_default(case: Case) -> None:
    policy = (await case.admin.get(POLICY)).json()
    assert (policy["hide"], policy["cameras"], policy["changed_at"]) == ("off", {}, None)
    response = await case.snapshot()
    assert response.content == jpeg_of(scene(ALARM_FRAME))
    assert "immutable" in response.headers["cache-control"]
    assert (await case.clip())["anonymised"] == "off"


async def test_what_was_set_is_read_and_logged(case: Case) -> None:
    wanted = {
        "hide": "heads",
        "cameras": {"gate": "persons"},
        "style": "fill",
        "keep_audio": True,
        "classes": ["person", "rider"],
    }
    await case.policy(**wanted)
    policy = (await case.admin.get(POLICY)).json()
    assert {name: policy[name] for name in wanted} == wanted
    assert policy["changed_by"].startswith("key:")
    again = {name: policy[name] for name in wanted}
    assert (await case.admin.put(POLICY, json=again)).status_code == 200


async def test_a_policy_that_cannot_be(case: Case) -> None:
    for body, status in (
        ({"hide": "some"}, 422),
        ({"faces": True}, 422),
        ({"classes": []}, 422),
        ({"classes": ["x" * 65]}, 422),
        ({"cameras": {"nowhere": "off"}}, 404),
    ):
        problem(await case.admin.put(POLICY, json=body), status)
    assert (await case.admin.get(POLICY)).json()["changed_at"] is None


# ------------------------------------------------------------ hidden


async def test_the_snapshot_shows_no_person(case: Case) -> None:
    await case.policy(**PERSONS)
    response = await case.snapshot()
    luma = seen(response.content)
    assert abs(looks_like(luma, place(ALARM_FRAME))) < 0.1
    assert apart(luma, scene(ALARM_FRAME))[outside(ALARM_FRAME, REACH)].mean() < LOSS
    assert response.headers["cache-control"] == "no-store"
    # The same picture by its key in the storage.
    by_key = await case.admin.get(f"/v1/snapshots/{case.alarm.snapshot}")
    assert abs(looks_like(seen(by_key.content), place(ALARM_FRAME))) < 0.1
    assert by_key.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("after_s", [5.0])
async def test_what_is_not_yet_known_is_hidden_as_a_whole(case: Case) -> None:
    await case.policy(**PERSONS)
    luma = seen((await case.snapshot()).content)
    assert abs(looks_like(luma, place(ALARM_FRAME))) < 0.1
    assert apart(luma, scene(ALARM_FRAME))[outside(ALARM_FRAME, REACH)].mean() > LOSS


async def test_the_clip_shows_no_person(case: Case) -> None:
    original = await case.clip()
    await case.policy(**PERSONS)
    clip = await case.clip()
    assert (clip["anonymised"], clip["reveal"], clip["audio"]) == ("persons", None, False)
    assert (clip["from"], clip["to"]) == (original["from"], original["to"])
    assert clip["sha256"] != original["sha256"]
    assert_hidden(await case.frames(clip["url"]))
    # Made once.
    assert (await case.clip())["sha256"] == clip["sha256"]


async def test_ranges_of_an_anonymised_clip(case: Case) -> None:
    await case.policy(**PERSONS)
    url = (await case.clip())["url"]
    whole = (await case.admin.get(url)).content
    part = await case.admin.get(url, headers={"Range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == whole[100:200]


async def test_an_export_shows_no_person_and_says_so(case: Case) -> None:
    await case.policy(**PERSONS)
    response = await case.admin.get("/v1/recordings/export", params=case.export())
    assert response.status_code == 200, response.text
    assert_hidden(case.decoded(response.content))
    address = response.headers["link"].partition(">")[0][1:]
    manifest = (await case.admin.get(address)).json()
    assert manifest["method"] == HIDDEN
    assert manifest["file"]["size"] == len(response.content)


@pytest.mark.parametrize("after_s", [7.0])
async def test_an_anonymised_export_is_short_and_of_what_is_known(case: Case) -> None:
    await case.policy(**PERSONS)
    params = case.export(to=rfc3339(T0_US + 400_000_000))
    problem(await case.admin.get("/v1/recordings/export", params=params), 422)
    answer = await case.admin.get("/v1/recordings/export", params=case.export())
    problem(answer, 409, "conflict")


async def test_recordings_are_listed_without_links(case: Case) -> None:
    before = (await case.admin.get("/v1/recordings")).json()["segments"]
    await case.policy(**PERSONS)
    after = (await case.admin.get("/v1/recordings")).json()["segments"]
    assert [s["sha256"] for s in after] == [s["sha256"] for s in before]
    assert all(s["url"] is None for s in after)
    # A link of before shows more than may be seen now.
    problem(await case.admin.get(before[0]["url"]), 403, "forbidden")


async def test_without_paths_everything_is_hidden(case: Case) -> None:
    """As where a camera was not analysed, or retention took the paths."""
    await case.policy(cameras={"gate": "heads"})
    await case.world.database.tracks("acme").record_paths(
        [path.model_copy(update={"camera": "yard"}) for path in walk_paths(FRAMES, T0_US)]
    )
    rows = case.world.database.tracks("acme")
    assert await rows.paths("gate", T0_US, END_US)
    other = make_alarm(1, camera="yard", track="x", stages=Stages(capture_us=ALARM_US + 60_000_000))
    other = other.model_copy(update={"snapshot": "alarms/other.jpg"})
    await case.world.database.tenant("acme").record_alarms([other])
    await case.world.blobs("acme").put("alarms/other.jpg", jpeg_of(scene(ALARM_FRAME)))
    await case.policy(**PERSONS)

    async def shown() -> Luma:
        return seen((await case.admin.get(f"/v1/alarms/{other.id}/snapshot")).content)

    assert apart(await shown(), scene(ALARM_FRAME))[outside(ALARM_FRAME, REACH)].mean() > LOSS
    # Where it was analysed and nothing was there, the picture is shown.
    case.clock.advance(60)
    cells = [make_analysed(n, camera="yard") for n in range(11, 15)]
    await rows.record_analysed(cells)
    assert apart(await shown(), scene(ALARM_FRAME)).mean() < LOSS


async def test_pictures_of_objects(case: Case) -> None:
    """The crop of a person is the person; that of a car far from everybody is shown; and of what
    nobody knows, nothing is."""
    blobs, tracks = case.world.blobs("acme"), case.world.database.tracks("acme")
    picture = jpeg_of(scene(ALARM_FRAME))
    keys = {}
    for name, label, box in (
        ("walker", "person", normalized(place(ALARM_FRAME))),
        ("far", "car", (0.0, 0.0, 0.1, 0.1)),
        ("near", "car", (0.3, 0.4, 0.5, 0.9)),
    ):
        keys[name] = object_snapshot_key("gate", name)
        await blobs.put(keys[name], picture)
        at_us = picture_us(T0_US, FIRST)
        thing = make_sighting(
            track=name, label=label, box=box, snapshot=keys[name],
            first_seen_us=at_us, last_seen_us=at_us + 1_000_000,
        )  # fmt: skip
        await tracks.record_objects([thing])
    await blobs.put("objects/gate/unknown.jpg", picture)
    # A job may have run a model that knows no persons.
    at_us = picture_us(T0_US, FIRST)
    found = make_sighting(
        track="found", label="car", box=(0.0, 0.0, 0.1, 0.1), first_seen_us=at_us,
        last_seen_us=at_us + 1_000_000, snapshot=object_snapshot_key("gate", "found"),
    )  # fmt: skip
    await blobs.put(object_snapshot_key("gate", "found"), picture)
    await tracks.record_objects([found], AlarmSource.BATCH)
    await case.policy(**PERSONS)

    async def shown(key: str) -> bool:
        response = await case.admin.get(f"/v1/snapshots/{key}")
        assert response.status_code == 200, response.text
        return response.content == picture

    assert not await shown(keys["walker"])
    assert await shown(keys["far"])
    assert not await shown(keys["near"])
    assert not await shown(object_snapshot_key("gate", "found"))
    assert not await shown("objects/gate/unknown.jpg")
    await case.reveal(object="walker")
    assert await shown(keys["walker"])
    assert not await shown(keys["near"])


# ------------------------------------------------------------ policy changes


async def test_above_its_storage_no_clip_is_anonymised_but_those_that_are_there_are_shown(
    case: Case,
) -> None:
    platform, retention = case.world.database.platform(), case.world.database.retention("acme")
    use = StorageUse(recordings=900, files=100, listed_us=1, measured_us=2)
    await platform.set_quotas("acme", {"storage-bytes": 999})
    assert (await case.clip())["anonymised"] == "off"
    await case.policy(**PERSONS)
    await retention.set_storage(use)
    address = f"/v1/alarms/{case.alarm.id}/clip"
    assert problem(await case.admin.get(address), 507)["quota"] == "storage-bytes"
    files = await listing(case.world.blobs("acme"), f"clips/{case.alarm.id}")
    assert [one for one in files if "hidden" in one.key] == []
    # It is brought below; then the clip is made, and stays.
    await retention.set_storage(use.model_copy(update={"recordings": 1}))
    assert (await case.clip())["anonymised"] == "persons"
    await retention.set_storage(use)
    assert (await case.clip())["anonymised"] == "persons"


async def test_another_policy_shows_another_clip(case: Case) -> None:
    await case.policy(**PERSONS)
    persons = await case.clip()
    await case.policy(hide="heads")
    problem(await case.admin.get(persons["url"]), 403, "forbidden")
    heads = await case.clip()
    assert heads["anonymised"] == "heads"
    assert heads["sha256"] != persons["sha256"]
    for n, luma in enumerate(await case.frames(heads["url"]), FIRST):
        x1, y1, x2, y2 = place(n)
        assert abs(looks_like(luma, (x1, y1, x2, y1 + 16))) < 0.1, n
        assert looks_like(luma, (x1, y2 - 16, x2, y2)) > 0.7, n
    await case.policy(**PERSONS)
    again = await case.clip()
    assert_hidden(await case.frames(again["url"]))
    await case.policy(hide="off")
    assert_shown(await case.frames((await case.clip())["url"]))


async def test_more_paths_make_another_clip(case: Case) -> None:
    await case.policy(**PERSONS)
    before = await case.clip()
    second = [
        path.model_copy(
            update={
                "track": "second",
                "points": tuple((p[0], 0, 0, 999, 2_000) for p in path.points),
            }
        )
        for path in walk_paths(FRAMES, T0_US)
    ]
    await case.world.database.tracks("acme").record_paths(second)
    assert (await case.clip())["sha256"] != before["sha256"]


async def test_a_camera_may_be_left_out(case: Case) -> None:
    await case.policy(**PERSONS, cameras={"gate": "off"})
    assert (await case.snapshot()).content == jpeg_of(scene(ALARM_FRAME))
    assert (await case.clip())["anonymised"] == "off"


# ------------------------------------------------------------ reveals


async def test_a_reveal_shows_the_originals_to_whoever_asked_for_it(case: Case) -> None:
    original = await case.clip()
    await case.policy(**PERSONS)
    made = await case.reveal()
    assert (made["camera"], made["alarm"]) == ("gate", str(case.alarm.id))
    assert made["expires_at"] == rfc3339(case.clock.now_us() + 600_000_000)

    response = await case.snapshot()
    assert response.content == jpeg_of(scene(ALARM_FRAME))
    assert response.headers["cache-control"] == "no-store"
    clip = await case.clip()
    assert (clip["anonymised"], clip["reveal"]) == ("off", made["id"])
    assert clip["sha256"] == original["sha256"]
    file = await case.admin.get(clip["url"])
    assert file.headers["cache-control"] == "no-store"
    assert_shown(case.decoded(file.content))
    export = await case.admin.get(
        "/v1/recordings/export",
        params=case.export(**{"from": made["from"], "to": rfc3339(ALARM_US + 900_000)}),
    )
    assert looks_like(case.decoded(export.content)[0], place(FIRST)) > 0.8

    other = await case.client("acme admin")
    assert abs(looks_like(seen((await case.snapshot(other)).content), place(ALARM_FRAME))) < 0.1
    assert (await case.clip(other))["anonymised"] == "persons"


@pytest.mark.parametrize("how", ["expired", "ended"])
async def test_when_it_is_over_all_is_hidden_again(case: Case, how: str) -> None:
    await case.policy(**PERSONS)
    made = await case.reveal(alarm=str(case.alarm.id), minutes=2)
    clip = await case.clip()
    assert clip["anonymised"] == "off"
    if how == "expired":
        case.clock.advance(119)
        assert (await case.admin.get(clip["url"])).status_code == 200
        case.clock.advance(1)
    else:
        assert (await case.admin.delete(f"/v1/reveals/{made['id']}")).status_code == 204
    problem(await case.admin.get(clip["url"]), 403, "forbidden")
    assert abs(looks_like(seen((await case.snapshot()).content), place(ALARM_FRAME))) < 0.1
    assert (await case.clip())["anonymised"] == "persons"


async def test_a_time_of_a_camera(case: Case) -> None:
    await case.policy(**PERSONS)
    time: dict[str, Any] = {"from": rfc3339(T0_US), "to": rfc3339(ALARM_US)}
    await case.reveal(camera="gate", **time)
    segments = (await case.admin.get("/v1/recordings")).json()["segments"]
    # Two seconds each, of which only the first lies in the time.
    assert [s["url"] is not None for s in segments] == [True, False, False]
    shown = await case.frames(segments[0]["url"])
    assert looks_like(shown[10], place(10)) > 0.8
    later = case.export()
    answer = await case.admin.get("/v1/recordings/export", params=later)
    assert_hidden(case.decoded(answer.content))


async def test_of_another_camera_it_shows_nothing(case: Case) -> None:
    await case.world.database.tenant("acme").add_camera(make_camera(id="yard"))
    await case.policy(**PERSONS)
    time: dict[str, Any] = {"from": rfc3339(T0_US), "to": rfc3339(END_US)}
    await case.reveal(camera="yard", **time)
    assert abs(looks_like(seen((await case.snapshot()).content), place(ALARM_FRAME))) < 0.1


async def test_a_reveal_that_cannot_be(case: Case) -> None:
    for body, status in (
        ({"alarm": None}, 422),
        ({"reason": ""}, 422),
        ({"reason": "  x "}, 422),
        ({"reason": "x" * 201}, 422),
        ({"minutes": 61}, 422),
        ({"minutes": 0}, 422),
        ({"camera": "gate"}, 422),
        ({"alarm": "00000000-0000-4000-8000-000000000001"}, 404),
        ({"alarm": None, "object": "nobody"}, 404),
        ({"alarm": None, "camera": "gate"} | LONG, 422),
        ({"alarm": None, "camera": "nowhere"} | LONG | {"to": "2023-01-01T00:00:01Z"}, 404),
    ):
        wanted = {"alarm": str(case.alarm.id), "reason": REASON} | body
        sent = {name: value for name, value in wanted.items() if value is not None}
        problem(await case.admin.post("/v1/reveals", json=sent), status)


async def test_who_may_not(case: Case) -> None:
    await case.policy(**PERSONS)
    for role in ("viewer", "operator", "analyst"):
        client = await case.client(f"acme {role}")
        body = {"alarm": str(case.alarm.id), "reason": REASON}
        problem(await client.post("/v1/reveals", json=body), 403)
        problem(await client.get("/v1/reveals"), 403)
        problem(await client.get(POLICY), 403)
        assert (await case.clip(client))["anonymised"] == "persons"


async def test_another_tenant_has_none_of_it(case: Case) -> None:
    await case.policy(**PERSONS)
    made = await case.reveal()
    globex = await case.client("globex")
    body = {"alarm": str(case.alarm.id), "reason": REASON}
    problem(await globex.post("/v1/reveals", json=body), 404)
    problem(await globex.delete(f"/v1/reveals/{made['id']}"), 404)
    assert (await globex.get("/v1/reveals")).json() == {"reveals": []}
    assert (await globex.get(POLICY)).json()["hide"] == "off"
    assert (await case.snapshot(globex)).status_code == 404


async def test_nobody_has_many_at_once(case: Case) -> None:
    for _ in range(20):
        last = await case.reveal()
    body = {"alarm": str(case.alarm.id), "reason": REASON}
    problem(await case.admin.post("/v1/reveals", json=body), 409)
    assert (await case.admin.delete(f"/v1/reveals/{last['id']}")).status_code == 204
    await case.reveal()
    reveals = (await case.admin.get("/v1/reveals")).json()["reveals"]
    assert [r["active"] for r in reveals].count(True) == 20
    assert len(reveals) == 21


async def test_all_of_it_is_logged(case: Case) -> None:
    await case.policy(**PERSONS)
    await case.snapshot()
    made = await case.reveal()
    await case.snapshot()
    clip = await case.clip()
    await case.admin.get(clip["url"])
    await case.admin.delete(f"/v1/reveals/{made['id']}")
    entries: list[AuditEntry] = []

    async def written() -> bool:
        nonlocal entries
        entries = await logged(case.world, "acme")
        return any(entry.action == "reveal.end" for entry in entries)

    await eventually(written)
    by_action: dict[str, list[Any]] = {}
    for entry in entries:
        by_action.setdefault(entry.action, []).append(entry)
    [begin] = by_action["reveal.begin"]
    assert (begin.object_id, begin.details["reason"]) == (made["id"], REASON)
    assert begin.details["alarm"] == str(case.alarm.id)
    views = [entry.details.get("reveal") for entry in by_action["snapshot.view"]]
    assert sorted(views, key=str) == sorted([None, made["id"]], key=str)
    assert made["id"] in [entry.details.get("reveal") for entry in by_action["clip.link"]]
    assert [entry.details.get("reveal") for entry in by_action["media.read"]] == [made["id"]]
    assert by_action["policy.change"][0].object_id == "anonymisation"
