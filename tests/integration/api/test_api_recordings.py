"""What was recorded: the timeline, one file of a stretch, and links that open it."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.clips.manifest import Manifest
from pipelines.domain import Segment
from serve.api.times import rfc3339
from tests.factories import T0_US
from tests.integration.api.world import World, eventually, problem
from tests.recorded import (
    FPS,
    GOP,
    picture_us,
    pictures,
    segments_of,
    ship,
    units,
)

FRAMES, PER_SEGMENT = 100, 30
LATER_US = T0_US + 60_000_000


def stretch(from_us: int, to_us: int, **more: Any) -> dict[str, Any]:
    return {"from": rfc3339(from_us), "to": rfc3339(to_us), **more}


ALL = stretch(T0_US, T0_US + 3_600_000_000)
GATE = ALL | {"camera": "gate"}


@pytest.fixture
async def recorded(world: World, tmp_path: Path) -> list[Segment]:
    """Four seconds of acme's camera `gate`, in segments of 1.2 s."""
    return await record(world, tmp_path / "spool", T0_US)


async def record(
    world: World,
    folder: Path,
    start_us: int,
    *,
    tenant: str = "acme",
    camera: str = "gate",
    frames: int = FRAMES,
    size: tuple[int, int] = (128, 96),
    b_frames: int = 0,
) -> list[Segment]:
    content = units(frames, start_us, size=size, b_frames=b_frames)
    files = segments_of(folder, content, per_segment=PER_SEGMENT, size=size)
    recordings, blobs = world.database.recordings(tenant), world.blobs(tenant)
    return await ship(files, recordings, blobs, camera, size=size)


async def sources(world: World, rows: list[Segment], folder: Path) -> list[tuple[int, bytes]]:
    """Every picture of the segments, with its capture time."""
    found = []
    for n, row in enumerate(rows):
        copy = folder / f"source-{n}.mp4"
        copy.write_bytes(await world.blobs("acme").get(row.blob))
        found += pictures(copy, row.origin_us)
    return found


async def nothing_left(world: World) -> bool:
    """Whether no file of an export lies on the disk any more."""
    return not list(world.deps.settings.scratch_dir.iterdir())


# ------------------------------------------------------------ exports


@pytest.mark.parametrize("b_frames", [0, 2])
async def test_an_export_is_the_pictures_of_the_source(
    acme: httpx.AsyncClient, world: World, tmp_path: Path, b_frames: int
) -> None:
    rows = await record(world, tmp_path / "spool", T0_US, b_frames=b_frames)
    before = await sources(world, rows, tmp_path)
    first, last = 25, 77  # in the middle of a group, and of a segment
    asked = stretch(picture_us(T0_US, first), picture_us(T0_US, last), camera="gate")

    response = await acme.get("/v1/recordings/export", params=asked)

    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-disposition"].startswith("attachment; ")
    file = tmp_path / "export.mp4"
    file.write_bytes(response.content)
    key_frame = first // GOP * GOP
    after = pictures(file, picture_us(T0_US, key_frame))
    # With B-frames, pictures that are shown later are needed by those before.
    assert after[: last - key_frame] == before[key_frame:last]
    assert len(after) - (last - key_frame) <= 2 * b_frames
    await eventually(lambda: nothing_left(world))


async def test_the_manifest_describes_the_export(
    acme: httpx.AsyncClient, recorded: list[Segment]
) -> None:
    asked = stretch(T0_US + 1_000_000, T0_US + 2_000_000, camera="gate")
    response = await acme.get("/v1/recordings/export", params=asked)
    address, _, relation = response.headers["link"].partition(">")
    assert 'rel="describedby"' in relation

    answer = await acme.get(address[1:])

    manifest = Manifest.model_validate_json(answer.content)
    body = answer.json()
    assert body["tenant"] == "acme"
    assert body["camera"] == "gate"
    assert body["asked"] == {"from": asked["from"][:-8] + "Z", "to": asked["to"][:-8] + "Z"}
    assert body["covered"]["from"] == rfc3339(picture_us(T0_US, 20))
    assert body["gaps"] == []
    assert body["file"] == {
        "sha256": hashlib.sha256(response.content).hexdigest(),
        "size": len(response.content),
        "frames": 30,
        "audio": False,
    }
    assert [(s["sha256"], s["key"]) for s in body["sources"]] == [
        (row.sha256, row.blob) for row in recorded[:2]
    ]
    assert manifest.created_by.startswith("key:")


async def test_an_export_can_be_resumed_in_ranges(
    acme: httpx.AsyncClient, recorded: list[Segment]
) -> None:
    """The same stretch is the same file, byte for byte, each time that it is made."""
    whole = await acme.get("/v1/recordings/export", params=GATE)
    part = await acme.get("/v1/recordings/export", params=GATE, headers={"Range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == whole.content[100:200]


async def test_a_gap_stays_a_gap(acme: httpx.AsyncClient, world: World, tmp_path: Path) -> None:
    rows = await record(world, tmp_path / "a", T0_US, frames=30)
    later_us = T0_US + 10_000_000
    rows += await record(world, tmp_path / "b", later_us, frames=30)

    response = await acme.get("/v1/recordings/export", params=GATE)

    file = tmp_path / "export.mp4"
    file.write_bytes(response.content)
    assert pictures(file, picture_us(T0_US, 0)) == await sources(world, rows, tmp_path)
    manifest = (await acme.get(response.headers["link"].split(">")[0][1:])).json()
    assert manifest["gaps"] == [
        {
            "from": rfc3339(2 * picture_us(T0_US, 29) - picture_us(T0_US, 28)),
            "to": rfc3339(later_us)[:-8] + "Z",
        }
    ]


async def test_where_the_format_changes_the_export_says_when(
    acme: httpx.AsyncClient, world: World, tmp_path: Path
) -> None:
    await record(world, tmp_path / "a", T0_US, frames=30)
    await record(world, tmp_path / "b", LATER_US, frames=30, size=(160, 96))
    body = problem(await acme.get("/v1/recordings/export", params=GATE), 409, "conflict")
    assert rfc3339(LATER_US) in str(body["detail"])
    before = stretch(T0_US, LATER_US, camera="gate")
    assert (await acme.get("/v1/recordings/export", params=before)).status_code == 200
    await eventually(lambda: nothing_left(world))


async def test_a_file_that_was_changed_is_not_exported(
    acme: httpx.AsyncClient, world: World, recorded: list[Segment]
) -> None:
    blobs = world.blobs("acme")
    content = bytearray(await blobs.get(recorded[1].blob))
    content[len(content) // 2] ^= 1
    await blobs.put(recorded[1].blob, bytes(content))
    body = problem(await acme.get("/v1/recordings/export", params=GATE), 409, "conflict")
    assert rfc3339(recorded[1].start_us) in str(body["detail"])


async def test_a_file_that_is_gone_is_a_gap(
    acme: httpx.AsyncClient, world: World, recorded: list[Segment]
) -> None:
    await world.blobs("acme").delete(recorded[1].blob)
    response = await acme.get("/v1/recordings/export", params=GATE)
    manifest = (await acme.get(response.headers["link"].split(">")[0][1:])).json()
    assert len(manifest["gaps"]) == 1
    assert len(manifest["sources"]) == len(recorded) - 1


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"camera": "yard"}, 404, "nothing of camera yard was recorded"),
        ({"from": rfc3339(LATER_US), "to": rfc3339(LATER_US)}, 422, "`to`"),
        ({"to": rfc3339(T0_US + 3_601_000_000)}, 422, "3600 s"),
        ({"camera": "../x"}, 422, ""),
        ({"from": "2026-01-31T08:00:00"}, 422, ""),
        ({"from": "yesterday"}, 422, ""),
    ],
)
async def test_what_cannot_be_exported(
    acme: httpx.AsyncClient,
    recorded: list[Segment],
    params: dict[str, str],
    status: int,
    said: str,
) -> None:
    response = await acme.get("/v1/recordings/export", params=GATE | params)
    assert said in str(problem(response, status)["detail"])


async def test_only_so_many_at_once(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, world: World, recorded: list[Segment]
) -> None:
    slots = world.state.evidence.exports
    with slots.taken("acme"), slots.taken("acme"):
        response = await acme.get("/v1/recordings/export", params=GATE)
        assert problem(response, 429, "quota-exceeded")["quota"] == "exports"
        assert response.headers["retry-after"] == "10"
        # Another tenant's are not in the way: it gets as far as to learn that nothing is there.
        problem(await globex.get("/v1/recordings/export", params=GATE), 404, "not-found")
    # Whatever became of the ones before, their places are free again.
    for _ in range(world.deps.settings.api.max_exports + 1):
        problem(await acme.get("/v1/recordings/export", params=GATE | {"camera": "yard"}), 404)
    assert (await acme.get("/v1/recordings/export", params=GATE)).status_code == 200


async def test_a_client_that_goes_away_leaves_nothing(
    acme: httpx.AsyncClient, world: World, recorded: list[Segment]
) -> None:
    async with acme.stream("GET", "/v1/recordings/export", params=GATE) as response:
        assert response.status_code == 200

    async def all_given_back() -> bool:
        # One after the other: a thread has removed the files before the loop frees the place.
        return world.state.evidence.exports.of("acme") == 0 and await nothing_left(world)

    await eventually(all_given_back)


async def test_all_tenants_together_have_so_many(
    acme: httpx.AsyncClient, world: World, recorded: list[Segment]
) -> None:
    slots = world.state.evidence.exports
    with ExitStack() as stack:
        for n in range(world.deps.settings.api.max_exports):
            stack.enter_context(slots.taken(f"tenant-{n}"))
        response = await acme.get("/v1/recordings/export", params=GATE)
        problem(response, 429, "too-many-requests")
        assert response.headers["retry-after"] == "10"
    assert (await acme.get("/v1/recordings/export", params=GATE)).status_code == 200


# ------------------------------------------------------------ the timeline


async def test_the_timeline_lists_segments_and_what_they_cover(
    acme: httpx.AsyncClient, world: World, recorded: list[Segment], tmp_path: Path
) -> None:
    await record(world, tmp_path / "yard", LATER_US, camera="yard", frames=30)

    body = (await acme.get("/v1/recordings", params=ALL)).json()

    assert body["next_cursor"] is None
    assert len(body["segments"]) == len(recorded) + 1
    first = dict(body["segments"][0])
    assert first.pop("url").startswith("/media/")
    row = recorded[0]
    assert first == {
        "camera": "gate",
        "from": rfc3339(T0_US),
        "to": rfc3339(row.end_us),
        "codec": "h264",
        "width": 128,
        "height": 96,
        "frames": PER_SEGMENT,
        "size": row.size,
        "sha256": row.sha256,
        "masked": False,
        "audio": None,
        "note": "",
    }
    assert body["spans"] == [
        {"camera": "gate", "from": rfc3339(T0_US), "to": rfc3339(recorded[-1].end_us)},
        {
            "camera": "yard",
            "from": rfc3339(LATER_US),
            "to": rfc3339(2 * picture_us(LATER_US, 29) - picture_us(LATER_US, 28)),
        },
    ]


async def test_pages_neither_repeat_nor_miss(
    acme: httpx.AsyncClient, world: World, tmp_path: Path
) -> None:
    """Two cameras whose segments start at the same microsecond."""
    rows = []
    for camera in ("gate", "yard"):
        rows += await record(world, tmp_path / camera, T0_US, camera=camera)
    seen: list[tuple[str, str]] = []
    cursor = None
    for _ in range(10):
        params = ALL | {"limit": 3} | ({"cursor": cursor} if cursor else {})
        body = (await acme.get("/v1/recordings", params=params)).json()
        seen += [(segment["from"], segment["camera"]) for segment in body["segments"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted((rfc3339(row.start_us), row.camera) for row in rows)


async def test_the_range_and_the_camera_are_kept_to(
    acme: httpx.AsyncClient, recorded: list[Segment]
) -> None:
    second = recorded[1]
    inside = stretch(second.start_us + 1, second.start_us + 2)
    [segment] = (await acme.get("/v1/recordings", params=inside)).json()["segments"]
    assert segment["sha256"] == second.sha256
    for bounds in ({}, {"from": ALL["from"]}, {"to": ALL["to"]}):
        listed = (await acme.get("/v1/recordings", params=bounds)).json()["segments"]
        assert len(listed) == len(recorded)
    other = (await acme.get("/v1/recordings", params=ALL | {"camera": "yard"})).json()
    assert other == {"segments": [], "spans": [], "left_out": 0, "next_cursor": None}


@pytest.mark.parametrize(
    "params",
    [{"cursor": "nonsense"}, {"limit": 0}, {"from": "now"}, {"camera": "A"}, {"to": ALL["from"]}],
)
async def test_what_cannot_be_listed(acme: httpx.AsyncClient, params: dict[str, Any]) -> None:
    problem(await acme.get("/v1/recordings", params=ALL | params), 422, "invalid-input")


async def test_a_link_opens_a_segment_in_ranges(
    acme: httpx.AsyncClient, anonymous: httpx.AsyncClient, recorded: list[Segment], world: World
) -> None:
    url = (await acme.get("/v1/recordings", params=ALL)).json()["segments"][0]["url"]
    content = await world.blobs("acme").get(recorded[0].blob)

    whole = await anonymous.get(url)
    part = await anonymous.get(url, headers={"Range": "bytes=10-19"})

    assert (whole.status_code, whole.content) == (200, content)
    assert (part.status_code, part.content) == (206, content[10:20])


async def test_another_tenant_sees_nothing_of_it(
    globex: httpx.AsyncClient, recorded: list[Segment]
) -> None:
    body = (await globex.get("/v1/recordings", params=ALL)).json()
    assert body == {"segments": [], "spans": [], "left_out": 0, "next_cursor": None}
    problem(await globex.get("/v1/recordings/export", params=GATE), 404, "not-found")


async def test_each_exports_its_own_of_the_same_name(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient, world: World, tmp_path: Path
) -> None:
    await record(world, tmp_path / "a", T0_US, frames=30)
    await record(world, tmp_path / "b", T0_US, tenant="globex", frames=FPS, size=(160, 96))
    for client, frames in ((acme, 30), (globex, FPS)):
        response = await client.get("/v1/recordings/export", params=GATE)
        address = response.headers["link"].split(">")[0][1:]
        assert (await client.get(address)).json()["file"]["frames"] == frames
        other = globex if client is acme else acme
        problem(await other.get(address), 404, "not-found")
