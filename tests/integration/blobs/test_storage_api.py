"""The API over object storage: pictures, clips in ranges, exports, and what is said without it."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest

from cluster.core.settings import BlobSettings, Settings
from tests.factories import T0_US, make_alarm
from tests.integration.api.conftest import acme, globex, logs, migrated, world
from tests.integration.api.test_api_clips import Case, case
from tests.integration.api.test_api_recordings import GATE, PER_SEGMENT, record, sources
from tests.integration.api.world import World, make_settings, problem
from tests.integration.blobs.world import ACCESS, SECRET, S3Server
from tests.recorded import picture_us, pictures

__all__ = ["acme", "case", "globex", "logs", "migrated", "world"]

JPEG = b"\xff\xd8 a picture"


@pytest.fixture
def settings(tmp_path: Path, valkey: str, frail: S3Server) -> Settings:
    blobs = BlobSettings(url=frail.url)
    return make_settings(tmp_path, valkey).model_copy(update={"blobs": blobs})


async def alarm_with_picture(world: World) -> str:
    alarm = make_alarm(snapshot="alarms/1.jpg")
    await world.blobs("acme").put("alarms/1.jpg", JPEG)
    await world.database.tenant("acme").record_alarms([alarm])
    return f"/v1/alarms/{alarm.id}/snapshot"


async def test_a_picture_is_its_tenants(
    world: World, frail: S3Server, acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    path = await alarm_with_picture(world)
    assert frail.objects() == {"site/acme/alarms/1.jpg": JPEG}
    assert (await acme.get(path)).content == JPEG
    problem(await globex.get(path), 404, "not-found")


async def test_a_clip_plays_from_a_link_in_ranges(case: Case, frail: S3Server) -> None:
    await case.record((0, 20))
    case.settle()
    answer = await case.ask()
    assert answer["state"] == "ready"
    (clip,) = [
        content
        for key, content in frail.objects().items()
        if key.startswith("site/acme/clips/") and key.endswith(".mp4")
    ]
    assert len(pictures(await case.file(answer), T0_US)) > 100

    # The link itself is the permission; its application has the clock of the case.
    link = answer["url"]
    whole = await case.client.get(link, headers={"Authorization": ""})
    assert (whole.status_code, whole.content) == (200, clip)
    size = len(clip)
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=100-1099", 100, 1100),
        (f"bytes={size - 5}-{size + 100}", size - 5, size),
        ("bytes=-7", size - 7, size),
    ):
        part = await case.client.get(
            link, headers={"Range": asked, "If-Range": whole.headers["etag"]}
        )
        assert (part.status_code, part.content) == (206, clip[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    beyond = await case.client.get(link, headers={"Range": f"bytes={size}-"})
    problem(beyond, 416, "range-not-satisfiable")


async def test_an_export_is_the_pictures_of_the_source(
    world: World, acme: httpx.AsyncClient, tmp_path: Path
) -> None:
    rows = await record(world, tmp_path / "spool", T0_US)
    before = await sources(world, rows, tmp_path)
    response = await acme.get("/v1/recordings/export", params=GATE)
    assert response.status_code == 200, response.text
    file = tmp_path / "export.mp4"
    file.write_bytes(response.content)
    assert pictures(file, picture_us(T0_US, 0)) == before
    assert len(before) > PER_SEGMENT


async def test_without_its_storage_the_api_says_so_and_comes_back(
    world: World,
    frail: S3Server,
    acme: httpx.AsyncClient,
    logs: io.StringIO,
    tmp_path: Path,
) -> None:
    path = await alarm_with_picture(world)
    await record(world, tmp_path / "spool", T0_US)
    listed = (await acme.get("/v1/recordings", params=GATE)).json()
    link = listed["segments"][0]["url"]
    frail.kill()
    said = ""
    for address in (path, link):
        answer = await acme.get(address)
        problem(answer, 503, "unavailable")
        said += answer.text
    problem(await acme.get("/v1/recordings/export", params=GATE), 503, "unavailable")
    frail.start()
    assert (await acme.get(path)).content == JPEG
    assert (await acme.get(link)).status_code == 200
    for secret in (ACCESS, SECRET, "s3://", frail.address):
        assert secret not in said + logs.getvalue()
