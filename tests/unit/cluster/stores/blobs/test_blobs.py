from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cluster
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.errors import (
    ConfigError,
    ConflictError,
    InputError,
    NotFoundError,
    UnavailableError,
)

SOURCES = Path(cluster.__file__).parent.parent
BAD_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../globex/a",
    "a/../../globex/a",
    "a/..",
    "a/./b",
    "a//b",
    "a/",
    ".hidden",
    "a/.hidden",
    "a\\b",
    "a\x00b",
    "a b",
    "a\n",
    "ä",
    "s3://bucket/a",
    "~/a",
    "a" * 201,
    "a/" * 256 + "a",
]


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/blobs" if request.param == "file" else f"memory://{tmp_path.name}"


async def test_what_was_put_comes_back(url: str) -> None:
    async with TenantBlobs(url, "acme") as blobs:
        await blobs.put("alarms/2026/a-1_x.jpg", b"one")
        await blobs.put("alarms/2026/a-1_x.jpg", b"two")
        await blobs.put("empty", b"")
        assert await blobs.get("alarms/2026/a-1_x.jpg") == b"two"
        assert await blobs.get("empty") == b""
        await blobs.delete("empty")
        await blobs.delete("empty")
        with pytest.raises(NotFoundError):
            await blobs.get("empty")


async def test_a_file_that_was_put_comes_back_and_stays_where_it_was(
    url: str, tmp_path: Path
) -> None:
    source = tmp_path / "source.mp4"
    content = os.urandom(3 << 20)  # more than one piece of the copy
    source.write_bytes(content)
    async with TenantBlobs(url, "acme") as blobs:
        await blobs.put("recordings/gate/1.mp4", b"older")
        await blobs.put_file("recordings/gate/1.mp4", source)
        assert await blobs.get("recordings/gate/1.mp4") == content
        assert source.read_bytes() == content
        with pytest.raises(NotFoundError):
            await blobs.put_file("recordings/gate/2.mp4", tmp_path / "none.mp4")
        with pytest.raises(NotFoundError):
            await blobs.get("recordings/gate/2.mp4")
        with pytest.raises(InputError):
            await blobs.put_file("../globex/1.mp4", source)
    left = [path.name for path in (tmp_path / "blobs").rglob("*") if path.name[0] == "."]
    assert left == []


async def test_tenants_with_the_same_keys_do_not_meet(url: str) -> None:
    async with TenantBlobs(url, "acme") as acme, TenantBlobs(url, "globex") as globex:
        await globex.put("a", b"theirs")
        with pytest.raises(NotFoundError):
            await acme.get("a")
        await acme.put("a", b"ours")
        await acme.delete("a")
        assert await globex.get("a") == b"theirs"


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_could_lead_elsewhere_is_refused(url: str, key: str) -> None:
    async with TenantBlobs(url, "acme") as blobs:
        for call in (blobs.put(key, b""), blobs.get(key), blobs.delete(key)):
            with pytest.raises(InputError, match="key of a blob"):
                await call


@given(st.text(alphabet="ab./\\~%\x00", max_size=12))
@example("a/b")
def test_every_accepted_key_stays_in_the_tenants_folder(key: str) -> None:
    blobs = TenantBlobs("file:///srv/blobs", "acme")
    try:
        path = blobs._path(key)
    except InputError:
        return
    assert os.path.normpath(path) == path
    assert path.startswith("/srv/blobs/acme/")


SLUGS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
# Of few characters, so that one's key often looks like the other's tenant or path.
KEYS = st.text(alphabet="ab-./", min_size=1, max_size=8)


@given(st.sampled_from(["file:///srv/blobs", "memory://blobs"]), SLUGS, KEYS, SLUGS, KEYS)
@example("file:///srv/blobs", "a", "b/c", "a-b", "c")
@example("file:///srv/blobs", "a", "a/a", "a", "a/a")
def test_a_path_names_one_tenant_and_one_key(
    url: str, tenant: str, key: str, other: str, other_key: str
) -> None:
    """No two of them meet, and none lies inside another tenant's folder."""
    mine, theirs = TenantBlobs(url, tenant), TenantBlobs(url, other)
    try:
        path, their_path = mine._path(key), theirs._path(other_key)
    except InputError:
        return
    assert (path == their_path) == ((tenant, key) == (other, other_key))
    assert path.startswith(f"{theirs._root}/") == (tenant == other)


def test_paths_are_made_in_one_place() -> None:
    """Who opens the storage itself: the tenants' blobs; those that measure its disk and prove that
    it is there; and jobs, for videos that an operator names, and for URLs that `TenantBlobs.url`
    made."""
    openers = {
        str(path.relative_to(SOURCES))
        for package in ("agents", "cluster", "serve", "pipelines")
        for path in (SOURCES / package).rglob("*.py")
        if re.search(r"(?<!def )\b(?:open_storage|url_to_fs)\(", path.read_text(encoding="utf-8"))
    }
    assert openers == {
        "cluster/batch/remote.py",
        "cluster/batch/sources.py",
        "cluster/retention/disk.py",
        "cluster/stores/blobs/folder.py",
        "cluster/stores/blobs/storage.py",
        "cluster/stores/blobs/tenant.py",
    }


@pytest.mark.parametrize("tenant", ["", "..", "a/b", "Acme", "a.b"])
def test_a_tenant_must_be_a_slug(tenant: str) -> None:
    with pytest.raises(InputError):
        TenantBlobs("memory://", tenant)


def test_an_unknown_storage_is_a_config_error_without_its_credentials() -> None:
    with pytest.raises(ConfigError) as caught:
        TenantBlobs("nope://user:hunter2@host/x", "acme")
    assert "hunter2" not in str(caught.value)


async def test_a_failed_write_leaves_the_old_blob_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TenantBlobs(f"file://{tmp_path}", "acme") as blobs:
        await blobs.put("a/b", b"old")

        def fail(_file: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(UnavailableError, match="No space left"):
            await blobs.put("a/b", b"new")
        assert await blobs.get("a/b") == b"old"
    assert [path.name for path in (tmp_path / "acme" / "a").iterdir()] == ["b"]


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long each file was when the disk was waited for, in bytes."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    return sizes


async def test_the_disk_is_waited_for_unless_told_otherwise(
    tmp_path: Path, flushed: list[int]
) -> None:
    async with TenantBlobs(f"file://{tmp_path}", "acme") as blobs:
        await blobs.put("now", b"safe")
        assert flushed == [4]
        await blobs.put("later", b"soon safe", flush=False)
        assert flushed == [4]
        assert await blobs.get("later") == b"soon safe"
        await blobs.flush("later")
        # And its name, in the folder.
        assert flushed == [4, 9, (tmp_path / "acme").stat().st_size]


async def test_what_is_not_there_cannot_be_flushed(tmp_path: Path) -> None:
    async with TenantBlobs(f"file://{tmp_path}", "acme") as blobs:
        with pytest.raises(NotFoundError):
            await blobs.flush("gone")
        with pytest.raises(InputError):
            await blobs.flush("../globex/a")


async def test_readers_see_the_old_or_the_new(tmp_path: Path) -> None:
    contents = [bytes([n]) * 200_000 for n in range(20)]
    async with TenantBlobs(f"file://{tmp_path}", "acme") as blobs:
        await blobs.put("a", contents[0])
        writing = asyncio.gather(*(blobs.put("a", content) for content in contents))
        while not writing.done():
            assert await blobs.get("a") in contents
        await writing


async def test_a_blob_is_no_folder(tmp_path: Path) -> None:
    async with TenantBlobs(f"file://{tmp_path}", "acme") as blobs:
        await blobs.put("a/b", b"x")
        with pytest.raises(ConflictError):
            await blobs.put("a/b/c", b"x")
        for key in ("a", "a/b/c"):
            with pytest.raises(NotFoundError):
                await blobs.get(key)
        await blobs.delete("a/b/c")
        assert await blobs.get("a/b") == b"x"


async def test_folders_are_the_owners_only(tmp_path: Path) -> None:
    async with TenantBlobs(f"file://{tmp_path}/blobs", "acme") as blobs:
        await blobs.put("a/b", b"x")
    assert stat.S_IMODE((tmp_path / "blobs" / "acme" / "a").stat().st_mode) == 0o700


async def test_closing_twice(tmp_path: Path) -> None:
    blobs = TenantBlobs(f"file://{tmp_path}", "acme")
    await blobs.aclose()
    await blobs.aclose()
    with pytest.raises(UnavailableError):
        await blobs.get("a")


async def test_ranges_and_versions(url: str) -> None:
    async with TenantBlobs(url, "acme") as blobs:
        await blobs.put("a", b"0123456789")
        assert await blobs.read_range("a", 2, 5) == b"234"
        assert await blobs.read_range("a", 8, 50) == b"89"
        stat = await blobs.stat("a")
        assert stat.size == 10
        assert await blobs.stat("a") == stat
        # At once: the version tells a replaced blob also within one tick of the storage's clock.
        await blobs.put("a", b"9876543210")
        assert (await blobs.stat("a")).version != stat.version


@pytest.mark.parametrize("key", ["nothing", "folder", "folder/a/below"])
async def test_what_is_no_blob_has_neither(url: str, key: str) -> None:
    async with TenantBlobs(url, "acme") as blobs:
        await blobs.put("folder/a", b"x")
        with pytest.raises(NotFoundError):
            await blobs.stat(key)
        with pytest.raises(NotFoundError):
            await blobs.read_range(key, 0, 1)
