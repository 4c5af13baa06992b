"""Secrets at rest, in both databases: what is stored, who can read it, and a change of the key."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from cluster.stores.db import (
    CameraChanges,
    Database,
    RecordCipher,
    Reencrypted,
    current,
    downgrade,
    head,
    migrate,
)
from cluster.stores.db.engine import open_engine
from pipelines.domain import Camera
from pipelines.errors import ConfigError, ConflictError, NotFoundError
from tests.factories import CIPHER, RECORD_KEY, make_camera, make_rule

PASSWORD = "hunter2-at-rest"

# A cipher that says when it gets to the third row, and waits there to be killed.
KILLED = """
import asyncio, os, sys, time
from pydantic import SecretStr
from cluster.stores.db import Database, RecordCipher

class Slow(RecordCipher):
    rows = set()

    def encrypt(self, secret, place):
        self.rows.add((place.tenant, place.row))
        if len(self.rows) == 3:
            print("third row", flush=True)
            time.sleep(600)
        return super().encrypt(secret, place)

async def main():
    cipher = Slow(SecretStr(os.environ["NEXT"]), [SecretStr(os.environ["OLD"])])
    async with Database(sys.argv[1], cipher=cipher) as database:
        async for _ in database.secrets().pages(write=True, size=1):
            pass

asyncio.run(main())
"""
URL = f"rtsp://viewer:{PASSWORD}@192.0.2.10/1"
SUB = f"rtsp://viewer:{PASSWORD}@192.0.2.10/2"
NEXT_KEY = SecretStr("the-key-of-next-year-0123456789-abcdef")
NEXT = RecordCipher(NEXT_KEY)
BOTH = RecordCipher(NEXT_KEY, [RECORD_KEY])


async def stored(url: str) -> dict[tuple[str, str], tuple[str, str | None]]:
    """What the table holds, by tenant and camera."""
    engine = open_engine(url)
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT tenant, id, url, substream_url FROM cameras ORDER BY tenant, id")
        )
        found = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    await engine.dispose()
    return found


async def store(at: str, tenant: str, camera: str, /, **columns: str | None) -> None:
    """Write past the records, as an earlier version or somebody else would."""
    engine = open_engine(at)
    async with engine.begin() as connection:
        for column, value in columns.items():
            await connection.execute(
                text(f"UPDATE cameras SET {column} = :value WHERE tenant = :tenant AND id = :id"),
                {"value": value, "tenant": tenant, "id": camera},
            )
    await engine.dispose()


@asynccontextmanager
async def opened(url: str, cipher: RecordCipher | None) -> AsyncIterator[Database]:
    async with Database(url, cipher=cipher) as database:
        yield database


async def through(database: Database, *, write: bool = True, size: int = 2) -> Reencrypted:
    found = Reencrypted()
    async for page in database.secrets().pages(write=write, size=size):
        found += page
    return found


def counts(found: Reencrypted) -> tuple[int, int, int, int, int]:
    return found.rows, found.plain, found.other, found.current, len(found.unreadable)


@pytest.fixture
async def cameras(database: Database) -> list[Camera]:
    """Five cameras of two tenants, one of them with a second stream: six secrets."""
    made = [make_camera(id=f"cam-{n}", url=URL) for n in range(3)]
    made += [make_camera("globex", f"cam-{n}", url=URL) for n in range(2)]
    made[0] = make_camera(id="cam-0", url=URL, substream_url=SUB)
    for camera in made:
        await database.tenant(camera.tenant).add_camera(camera)
    return made


async def plans(database: Database) -> list[Camera]:
    return [plan.camera for plan in await database.platform().plans()]


async def test_what_is_stored_is_encrypted(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    rows = await stored(database_url)
    texts = [text for row in rows.values() for text in row if text is not None]
    assert len(texts) == len(set(texts)) == 6
    assert all(text.startswith(f"enc1.{CIPHER.kid}.") for text in texts)
    assert not any(PASSWORD in text for text in texts)
    assert await plans(database) == cameras


async def test_text_of_earlier_versions_is_read_and_encrypted_when_it_is_written(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    await store(database_url, "acme", "cam-0", url=URL, substream_url=SUB)
    acme = database.tenant("acme")
    assert await acme.camera("cam-0") == cameras[0]
    assert await database.secrets().plain() == 1
    await acme.update_camera("cam-0", CameraChanges(name="North"))
    assert await database.secrets().plain() == 0
    row = (await stored(database_url))["acme", "cam-0"]
    assert all(text is not None and text.startswith("enc1.") for text in row)
    assert (await acme.camera("cam-0")).substream_url == SecretStr(SUB)


async def test_text_of_another_row_or_tenant_does_not_decrypt(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    rows = await stored(database_url)
    theirs, ours = rows["globex", "cam-0"][0], rows["acme", "cam-0"]
    await store(database_url, "acme", "cam-1", url=theirs)
    await store(database_url, "acme", "cam-2", url=ours[0], substream_url=ours[0])
    await store(database_url, "acme", "cam-0", url=ours[1], substream_url=ours[0])
    found = {camera.key.room: camera for camera in await plans(database)}
    assert [len(found[f"acme.cam-{n}"].unreadable) for n in range(3)] == [2, 1, 2]
    assert [len(found[f"globex.cam-{n}"].unreadable) for n in range(2)] == [0, 0]
    moved = found["acme.cam-1"]
    assert moved.url == SecretStr("")
    assert "url does not decrypt" in moved.unreadable_reason
    assert PASSWORD not in f"{found!r}"
    assert theirs.split(".")[2] not in f"{found!r}"


async def test_without_the_key_a_camera_is_known_in_all_but_its_url(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    before = await stored(database_url)
    async with opened(database_url, NEXT) as other:
        acme = other.tenant("acme")
        camera = await acme.camera("cam-0")
        assert {lost.field for lost in camera.unreadable} == {"url", "substream_url"}
        assert str(CIPHER.kid) in camera.unreadable_reason
        assert (camera.url, camera.substream_url) == (SecretStr(""), None)
        # Whatever is changed besides, what is stored stays for the day when the key is back.
        await acme.update_camera("cam-0", CameraChanges(name="North", detect_fps=2))
        await acme.add_rule("cam-0", make_rule())
        assert await stored(database_url) == before
        await acme.remove_camera("cam-1")
        with pytest.raises(NotFoundError):
            await acme.camera("cam-1")
    again = await database.tenant("acme").camera("cam-0")
    assert (again.name, again.url, again.unreadable) == ("North", SecretStr(URL), ())


async def test_who_enters_a_url_again_need_not_have_the_key(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    async with opened(database_url, NEXT) as other:
        acme = other.tenant("acme")
        half = await acme.update_camera("cam-0", CameraChanges(url=SecretStr(SUB)))
        assert half == await acme.camera("cam-0")
        assert [lost.field for lost in half.unreadable] == ["substream_url"]
        whole = await acme.update_camera("cam-0", CameraChanges(substream_url=None))
        assert (whole.url, whole.substream_url, whole.unreadable) == (SecretStr(SUB), None, ())
        assert whole == await acme.camera("cam-0")
    assert (await stored(database_url))["acme", "cam-0"][1] is None


async def test_a_process_without_a_key_cannot_write_a_camera(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    before = await stored(database_url)
    async with opened(database_url, None) as keyless:
        with pytest.raises(ConfigError, match="no key"):
            await keyless.tenant("acme").add_camera(make_camera(id="new"))
        assert (await keyless.tenant("acme").camera("cam-1")).unreadable
    assert await stored(database_url) == before


# ---------------------------------------------------------------- another key


async def test_after_a_change_of_the_key_the_old_one_can_go(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    await store(database_url, "acme", "cam-1", url=URL)
    async with opened(database_url, BOTH) as both:
        assert await plans(both) == cameras
        assert counts(await through(both, write=False)) == (5, 1, 5, 0, 0)
        assert counts(await through(both)) == (5, 1, 5, 0, 0)
        assert counts(await through(both)) == (5, 0, 0, 6, 0)
        assert await both.compact()
    async with opened(database_url, NEXT) as new:
        assert await plans(new) == cameras
    assert all(camera.unreadable for camera in await plans(database))


async def test_only_looking_changes_nothing(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    before = await stored(database_url)
    async with opened(database_url, BOTH) as both:
        await through(both, write=False)
    assert await stored(database_url) == before


async def test_what_is_interrupted_goes_on_where_it_was(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    async with opened(database_url, BOTH) as both:
        async with aclosing(both.secrets().pages(write=True, size=2)) as pages:
            first = await anext(pages)
        assert counts(first) == (2, 0, 3, 0, 0)
        # In between, everything can be read.
        assert await plans(both) == cameras
    async with opened(database_url, BOTH) as both:
        assert counts(await through(both)) == (5, 0, 3, 3, 0)
    async with opened(database_url, NEXT) as new:
        assert await plans(new) == cameras


async def test_a_process_that_is_killed_leaves_whole_rows(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    """Killed between its second and its third row, which it has written but not committed."""
    keys = {"NEXT": NEXT_KEY.get_secret_value(), "OLD": RECORD_KEY.get_secret_value()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, database_url),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | keys,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            assert await process.stdout.readline() == b"third row\n"
    finally:
        process.kill()
        await process.wait()
    async with opened(database_url, BOTH) as both:
        assert await plans(both) == cameras
        assert counts(await through(both, write=False)) == (5, 0, 3, 3, 0)
        assert counts(await through(both)) == (5, 0, 3, 3, 0)
    async with opened(database_url, NEXT) as new:
        assert await plans(new) == cameras


async def test_what_cannot_be_read_is_reported_and_left(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    await store(database_url, "acme", "cam-1", url="enc1.00000000.AAAA")
    await store(database_url, "acme", "cam-2", url="what is this?")
    async with opened(database_url, BOTH) as both:
        found = await through(both)
        assert counts(found) == (5, 0, 4, 0, 2)
        missing, broken = found.unreadable
        assert (missing.tenant, missing.camera, missing.column) == ("acme", "cam-1", "url")
        assert "00000000, which is missing" in missing.reason
        assert (broken.camera, "does not decrypt" in broken.reason) == ("cam-2", True)
        assert "what is this" not in repr(found)
    rows = await stored(database_url)
    assert rows["acme", "cam-1"][0] == "enc1.00000000.AAAA"
    assert rows["acme", "cam-2"][0] == "what is this?"


async def test_who_changes_cameras_meanwhile_loses_nothing(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    async with opened(database_url, BOTH) as both, opened(database_url, BOTH) as api:

        async def change() -> None:
            acme = api.tenant("acme")
            for n in range(12):
                url = SecretStr(f"{URL}/{n}")
                await acme.update_camera(f"cam-{n % 3}", CameraChanges(url=url))

        async def reencrypt() -> None:
            for _ in range(4):
                await through(both, size=1)

        await asyncio.gather(change(), reencrypt())
        await through(both)
    async with opened(database_url, NEXT) as new:
        urls = [(await new.tenant("acme").camera(f"cam-{n}")).url for n in range(3)]
    assert [url.get_secret_value() for url in urls] == [f"{URL}/{n}" for n in (9, 10, 11)]


async def test_the_way_back_is_closed_while_something_is_encrypted(
    database: Database, database_url: str, cameras: list[Camera]
) -> None:
    with pytest.raises(ConflictError, match="5 cameras have an encrypted URL"):
        await downgrade(database_url, "0003")
    assert await current(database_url) == head()
    for camera in cameras:
        await database.tenant(camera.tenant).remove_camera(camera.id)
    await downgrade(database_url, "0003")
    await migrate(database_url)
    assert await current(database_url) == head()
