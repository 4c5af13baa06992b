from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from cluster.clips.scratch import BLOCK_BYTES, LEFT_AFTER_S, Workshop
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.clock import ManualClock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, UnavailableError, UnknownThingError
from tests.unit.cluster.clips.test_evidence_timeline import segment

CONTENT = bytes(range(251)) * (BLOCK_BYTES // 251 + 100)


@pytest.fixture
async def blobs(tmp_path: Path) -> TenantBlobs:
    return TenantBlobs(f"file://{tmp_path}/blobs", "acme")


def row(content: bytes) -> Segment:
    digest = hashlib.sha256(content).hexdigest()
    return segment(0, 1).model_copy(update={"size": len(content), "sha256": digest})


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_table_is_cleared_whatever_happens(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "tmp", 1)
    working = asyncio.Event()

    async def work(ends: bool) -> None:
        async with workshop.table(1) as folder:
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
    # Also where it is cancelled before there is a folder.
    task = asyncio.create_task(work(False))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert inside(tmp_path / "tmp") == []
    workshop.close()


async def test_what_a_killed_process_left_goes_with_the_first_table(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    for name in ("evidence-old", "evidence-new", "somebody-else"):
        (folder / name).mkdir(parents=True)
    long_ago = time.time() - LEFT_AFTER_S - 60
    for name in ("evidence-old", "somebody-else"):
        os.utime(folder / name, (long_ago, long_ago))
    workshop = Workshop(folder, 1)
    async with workshop.table(1):
        pass
    assert inside(folder) == ["evidence-new", "somebody-else"]
    workshop.close()


async def test_no_work_begins_that_the_disk_has_no_room_for(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "tmp", 1)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UnavailableError, match="no room"):
        async with workshop.table(free):
            pass
    workshop.close()


async def test_a_segment_is_copied_and_checked(tmp_path: Path, blobs: TenantBlobs) -> None:
    workshop = Workshop(tmp_path / "tmp", 1)
    await blobs.put("a", CONTENT)
    for _ in range(2):  # also in place of what was there
        await workshop.fetch(blobs, row(CONTENT), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    with pytest.raises(ConflictError, match="not what was recorded"):
        await workshop.fetch(blobs, row(CONTENT + b"x"), tmp_path / "copy")
    await blobs.delete("a")
    with pytest.raises(UnknownThingError):
        await workshop.fetch(blobs, row(CONTENT), tmp_path / "copy")
    await blobs.put("a", CONTENT)
    with pytest.raises(UnavailableError, match="cannot be copied"):
        await workshop.fetch(blobs, row(CONTENT), tmp_path / "none" / "copy")
    workshop.close()
    await blobs.aclose()


async def test_what_is_old_is_told_by_the_clock_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "evidence-new").mkdir()
    clock = ManualClock(time.time_ns() // 1000)
    for passed_s, stays in ((LEFT_AFTER_S - 60, True), (120, False)):
        clock.advance(passed_s)
        workshop = Workshop(tmp_path, 1, clock=clock)
        async with workshop.table(1):
            assert (tmp_path / "evidence-new").exists() is stays
        workshop.close()
