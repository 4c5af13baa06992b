from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from cluster.clips.scratch import BLOCK_BYTES, LEFT_AFTER_S, Scratch
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.clock import ManualClock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, NotFoundError, UnavailableError
from tests.unit.cluster.clips.test_evidence_coverage import segment

CONTENT = bytes(range(251)) * (BLOCK_BYTES // 251 + 100)


@pytest.fixture
async def blobs(tmp_path: Path) -> TenantBlobs:
    return TenantBlobs(f"file://{tmp_path}/blobs", "acme")


def row(content: bytes) -> Segment:
    digest = hashlib.sha256(content).hexdigest()
    return segment(0, 1).model_copy(update={"size": len(content), "sha256": digest})


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_scratch_folder_is_always_removed(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "tmp", 1)
    working = asyncio.Event()

    async def work(ends: bool) -> None:
        async with scratch.folder_for(1) as folder:
            (folder / "a").touch()
            working.set()
            if ends:
                raise RuntimeError
            await asyncio.Event().wait()

    with pytest.raises(RuntimeError):
        await work(True)
    working.clear()
    task = asyncio.create_task(work(False))
    await working.wait()
    assert len(inside(tmp_path / "tmp")) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # Also if it is cancelled before the folder exists.
    task = asyncio.create_task(work(False))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert inside(tmp_path / "tmp") == []
    scratch.close()


async def test_leftovers_of_a_killed_process_are_removed_on_first_use(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    for name in ("evidence-old", "evidence-new", "somebody-else"):
        (folder / name).mkdir(parents=True)
    long_ago = time.time() - LEFT_AFTER_S - 60
    for name in ("evidence-old", "somebody-else"):
        os.utime(folder / name, (long_ago, long_ago))
    scratch = Scratch(folder, 1)
    async with scratch.folder_for(1):
        pass
    assert inside(folder) == ["evidence-new", "somebody-else"]
    scratch.close()


async def test_no_work_starts_without_enough_disk_space(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "tmp", 1)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UnavailableError, match="too little free space"):
        async with scratch.folder_for(free):
            pass
    scratch.close()


async def test_a_segment_is_copied_and_checked(tmp_path: Path, blobs: TenantBlobs) -> None:
    scratch = Scratch(tmp_path / "tmp", 1)
    await blobs.put("a", CONTENT)
    for _ in range(2):  # also over an existing file
        await scratch.fetch(blobs, row(CONTENT), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    with pytest.raises(ConflictError, match="changed in storage"):
        await scratch.fetch(blobs, row(CONTENT + b"x"), tmp_path / "copy")
    await blobs.delete("a")
    with pytest.raises(NotFoundError):
        await scratch.fetch(blobs, row(CONTENT), tmp_path / "copy")
    await blobs.put("a", CONTENT)
    with pytest.raises(UnavailableError, match="cannot be copied"):
        await scratch.fetch(blobs, row(CONTENT), tmp_path / "none" / "copy")
    scratch.close()
    await blobs.aclose()


async def test_what_is_old_is_told_by_the_clock_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "evidence-new").mkdir()
    clock = ManualClock(time.time_ns() // 1000)
    for passed_s, stays in ((LEFT_AFTER_S - 60, True), (120, False)):
        clock.advance(passed_s)
        scratch = Scratch(tmp_path, 1, clock=clock)
        async with scratch.folder_for(1):
            assert (tmp_path / "evidence-new").exists() is stays
        scratch.close()
