"""What a tenant's blobs promise, on a folder, on a real S3 server, and on an emulator of Google's
where somebody has one."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.stores.blobs.storage import PART_BYTES
from cluster.stores.blobs.tenant import ListedBlob, TenantBlobs
from pipelines.clock import SystemClock
from pipelines.errors import ConflictError, InputError, NotFoundError
from tests.blob_lists import listing
from tests.integration.blobs.world import S3Server


@dataclass
class Store:
    url: str
    acme: TenantBlobs


STORES = ["folder", "s3"]
if shutil.which("fake-gcs-server") and importlib.util.find_spec("gcsfs"):
    STORES.append("gcs")


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path}/blobs"
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return server.url
    found: str = request.getfixturevalue("gcs")
    return found


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with TenantBlobs(url, "acme") as acme:
        yield Store(url, acme)


async def test_what_was_put_comes_back_until_it_is_deleted(store: Store) -> None:
    await store.acme.put("alarms/a-1_x.jpg", b"one")
    await store.acme.flush("alarms/a-1_x.jpg")
    assert await store.acme.get("alarms/a-1_x.jpg") == b"one"
    await store.acme.put("alarms/a-1_x.jpg", b"two", flush=False)
    await store.acme.put("empty", b"")
    assert await store.acme.get("alarms/a-1_x.jpg") == b"two"
    assert await store.acme.get("empty") == b""
    for _ in range(2):
        await store.acme.delete("alarms/a-1_x.jpg")
        with pytest.raises(NotFoundError):
            await store.acme.get("alarms/a-1_x.jpg")


async def test_the_version_is_another_after_each_change(store: Store) -> None:
    versions = set()
    for content in (b"0123456789", b"9876543210", b"98765"):
        await store.acme.put("a", content)
        stat = await store.acme.stat("a")
        assert stat.size == len(content)
        assert await store.acme.stat("a") == stat
        versions.add(stat.version)
        await asyncio.sleep(0.01)  # clocks of file systems tick every few milliseconds
    assert len(versions) == 3


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (2, 5, b"234"),
        (0, 10, b"0123456789"),
        (8, 50, b"89"),
        (10, 20, b""),
        (50, 60, b""),
        (3, 3, b""),
        (5, 3, b""),
    ],
)
async def test_a_range_is_what_there_is_of_it(
    store: Store, start: int, end: int, expected: bytes
) -> None:
    await store.acme.put("a", b"0123456789")
    assert await store.acme.read_range("a", start, end) == expected
    await store.acme.put("a", b"")
    assert await store.acme.read_range("a", start, end) == b""


@pytest.mark.parametrize("size", [0, 1000, 2 * PART_BYTES - 1, 5 * PART_BYTES + 7])
async def test_a_file_of_any_size_is_stored_whole(store: Store, tmp_path: Path, size: int) -> None:
    """The last one goes up in six parts, two at a time."""
    source = tmp_path / "source.mp4"
    content = os.urandom(size)
    source.write_bytes(content)
    await store.acme.put("recordings/gate/1.mp4", b"older")
    await store.acme.put_file("recordings/gate/1.mp4", source)
    assert await store.acme.get("recordings/gate/1.mp4") == content
    assert (await store.acme.stat("recordings/gate/1.mp4")).size == size
    assert await store.acme.read_range("recordings/gate/1.mp4", size - 3, size) == content[-3:]
    assert source.read_bytes() == content


async def test_what_is_not_there_is_unknown(store: Store, tmp_path: Path) -> None:
    await store.acme.put("folder/a", b"x")
    for key in ("nothing", "folder", "folder/a/below"):
        for call in (
            store.acme.get(key),
            store.acme.stat(key),
            store.acme.read_range(key, 0, 1),
            store.acme.read_range(key, 1, 1),
        ):
            with pytest.raises(NotFoundError):
                await call
        await store.acme.delete(key)
    with pytest.raises(NotFoundError):
        await store.acme.put_file("b", tmp_path / "none.mp4")
    assert await store.acme.get("folder/a") == b"x"


async def test_flushing_is_the_disk_s_business(store: Store) -> None:
    """An object is safe when its upload was answered, so nobody looks whether it is there."""
    if store.url.startswith("file:"):
        with pytest.raises(NotFoundError):
            await store.acme.flush("nothing")
    else:
        await store.acme.flush("nothing")


async def test_only_a_folder_has_nothing_below_a_file(tmp_path: Path) -> None:
    """To an object store a key is one name, slashes and all."""
    async with TenantBlobs(f"file://{tmp_path}", "acme") as blobs:
        await blobs.put("a/b", b"x")
        with pytest.raises(ConflictError):
            await blobs.put("a/b/c", b"x")


async def test_tenants_with_the_same_keys_do_not_meet(store: Store) -> None:
    async with TenantBlobs(store.url, "globex") as globex, TenantBlobs(store.url, "acm") as acm:
        await globex.put("a", b"theirs")
        for other in (store.acme, acm):
            with pytest.raises(NotFoundError):
                await other.get("a")
            await other.delete("a")
        await store.acme.put("a", b"ours")
        assert await globex.get("a") == b"theirs"
        assert store.acme.url("a") != globex.url("a")


async def test_readers_see_the_old_or_the_new(store: Store, request: pytest.FixtureRequest) -> None:
    if store.url.startswith("s3:") and not request.getfixturevalue("s3").replaces_at_once:
        pytest.skip("without extended attributes the server of the tests does not do it")
    contents = [bytes([n]) * 200_000 for n in range(12)]
    await store.acme.put("a", contents[0])
    writing = asyncio.gather(*(store.acme.put("a", content) for content in contents))
    while not writing.done():
        assert await store.acme.get("a") in contents
    await writing


async def _listed(blobs: TenantBlobs, folder: str, firsts: str, after: str = "") -> list[str]:
    pages = [page async for page in blobs.pages(folder, firsts, after=after)]
    return [blob.key.removeprefix(f"{folder}/") for page in pages for blob in page]


async def test_a_folder_is_listed_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.stores.blobs.tenant.PAGE", 4)
    before_us = SystemClock().now_us()
    names = [f"{id}.{kind}" for id in ("0a", "0b", "1f", "2", "f0") for kind in ("json", "mp4")]
    for name in (*names, "notes.txt", "0/deep.mp4"):
        await store.acme.put(f"clips/{name}", name.encode())
    async with TenantBlobs(store.url, "globex") as globex:
        await globex.put("clips/0c.mp4", b"theirs")
    pages = [page async for page in store.acme.pages("clips", "0123f")]
    assert [(blob.key, blob.size) for page in pages for blob in page] == [
        (f"clips/{name}", len(name)) for name in names
    ]
    # Storages round to seconds, and have a clock of their own.
    stored_us = [blob.modified_us or 0 for page in pages for blob in page]
    assert all(abs(at_us - before_us) < 600_000_000 for at_us in stored_us)
    # What has one name up to the first dot comes together.
    groups = [{blob.key.partition(".")[0] for blob in page} for page in pages]
    assert sum(map(len, groups)) == 5
    assert await _listed(store.acme, "clips", "0123f", "0b.json") == names[3:]
    assert await _listed(store.acme, "clips", "f") == names[8:]
    assert await _listed(store.acme, "clips", "e") == []
    assert [blob.key for blob in await listing(store.acme, "clips/0b")] == [
        f"clips/{name}" for name in names[2:4]
    ]
    assert await _listed(store.acme, "exports", "0") == []
    assert await store.acme.folders("clips") == ["0"]
    assert await store.acme.folders("objects") == []
    with pytest.raises(InputError):
        await _listed(store.acme, "../globex/clips", "0")


async def test_everything_of_a_tenant_is_found_and_erased(store: Store) -> None:
    mine, keys = store.acme, ["a.txt", "b/c.txt", "b/d.txt", "b/e/f.txt"]
    assert await mine.within() == ([], [])
    for key in keys:
        await mine.put(key, key.encode())
    async with TenantBlobs(store.url, "globex") as globex:
        await globex.put("a.txt", b"theirs")
    found, folders = list[ListedBlob](), [""]
    while folders:
        inner, there = await mine.within(folders.pop(0))
        folders += inner
        found += there
    assert [(blob.key, blob.size) for blob in found] == [(key, len(key)) for key in keys]
    assert await mine.within("none") == ([], [])
    for _ in range(2):
        await mine.erase(found)
    assert [blobs for _, blobs in (await mine.within(), await mine.within("b"))] == [[], []]
    for _ in range(2):
        await mine.erase_folders()
    assert await mine.within() == ([], [])
    async with TenantBlobs(store.url, "globex") as globex:
        assert await globex.get("a.txt") == b"theirs"
