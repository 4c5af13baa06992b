"""What was recorded: the timeline, one file of a stretch, and links that open it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.domain import Segment
from serve.api.times import rfc3339
from tests.factories import T0_US
from tests.integration.api.world import World
from tests.recorded import GOP, picture_us, pictures, segments_of, ship, units

FRAMES, PER_SEGMENT = 100, 30


@pytest.fixture
async def recorded(world: World, tmp_path: Path) -> list[Segment]:
    """Four seconds of acme's camera `gate`, in segments of 1.2 s."""
    files = segments_of(tmp_path / "spool", units(FRAMES, T0_US), per_segment=PER_SEGMENT)
    return await ship(files, world.database.recordings("acme"), world.blobs("acme"))


def stretch(from_us: int, to_us: int, **more: Any) -> dict[str, Any]:
    return {"from": rfc3339(from_us), "to": rfc3339(to_us), **more}


ALL = stretch(T0_US, T0_US + 60_000_000)


async def test_an_export_is_the_pictures_of_the_source(
    acme: httpx.AsyncClient, recorded: list[Segment], world: World, tmp_path: Path
) -> None:
    sources = []
    for n, row in enumerate(recorded):
        copy = tmp_path / f"{n}.mp4"
        copy.write_bytes(await world.blobs("acme").get(row.blob))
        sources += pictures(copy, row.origin_us)
    first, last = 25, 77  # in the middle of a group, and of a segment
    asked = stretch(picture_us(T0_US, first), picture_us(T0_US, last), camera="gate")

    response = await acme.get("/v1/recordings/export", params=asked)

    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "video/mp4"
    manifest = (await acme.get(response.headers["link"].split(">")[0][1:])).json()
    file = tmp_path / "export.mp4"
    file.write_bytes(response.content)
    key_frame = first // GOP * GOP
    assert pictures(file, picture_us(T0_US, key_frame)) == sources[key_frame:last]
    assert manifest["file"]["sha256"] == hashlib.sha256(response.content).hexdigest()
    assert manifest["file"]["frames"] == last - key_frame
    assert [source["sha256"] for source in manifest["sources"]] == [
        row.sha256 for row in recorded[:3]
    ]
    assert manifest["covered"]["from"] == rfc3339(picture_us(T0_US, key_frame))


async def test_a_link_opens_a_segment_in_ranges(
    acme: httpx.AsyncClient, anonymous: httpx.AsyncClient, recorded: list[Segment], world: World
) -> None:
    listed = (await acme.get("/v1/recordings", params=ALL)).json()
    url = listed["segments"][0]["url"]
    content = await world.blobs("acme").get(recorded[0].blob)

    whole = await anonymous.get(url)
    part = await anonymous.get(url, headers={"Range": "bytes=10-19"})

    assert (whole.status_code, whole.content) == (200, content)
    assert (part.status_code, part.content) == (206, content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
