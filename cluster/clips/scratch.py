"""Where files are put together: a folder on this machine's disk, and threads to do it in."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from cluster.core.log import get_logger
from pipelines.clock import Clock, SystemClock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, UnavailableError

log = get_logger("evidence")

PREFIX = "evidence-"
# One read of object storage takes some 50 ms however small it is; four of these wait in memory.
BLOCK_BYTES = 4 * 1024 * 1024
# Nothing that is being made takes longer; what is older was left by a process that was killed.
LEFT_AFTER_S = 24 * 3600
# Beside what is fetched and what is made of it, the disk keeps this much for everybody else.
SPARE_BYTES = 256 * 1024 * 1024

_T = TypeVar("_T")


class Readable(Protocol):
    """As much of a tenant's blob storage as is needed to read segments."""

    async def read_range(self, key: str, start: int, end: int) -> bytes: ...


class Workshop:
    """Owns a thread pool and a folder in which everything is temporary.

    Args:
        folder: made when it is first needed.
        threads: how many files are put together at the same time.
        clock: for the age of what a process that was killed left.
    """

    def __init__(self, folder: Path, threads: int, *, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="evidence")
        self._swept = False

    async def run(self, call: Callable[[], _T]) -> _T:
        """A call that blocks, in a thread of ours."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    @asynccontextmanager
    async def table(self, size: int) -> AsyncIterator[Path]:
        """An empty folder for one piece of work, removed at the end whatever happens.

        Args:
            size: bytes that the work will need; refused where the disk has less.

        Raises:
            UnavailableError: the disk is full or away.
        """
        clearing = asyncio.ensure_future(self.run(lambda: self._clear_table(size)))
        try:
            yield await asyncio.shield(clearing)
        finally:
            # Whoever is cancelled meanwhile: the folder is made to the end, and removed.
            await asyncio.shield(self._tidy(clearing))

    async def _tidy(self, clearing: asyncio.Future[Path]) -> None:
        [made] = await asyncio.gather(clearing, return_exceptions=True)
        if isinstance(made, Path):
            await self.run(lambda: shutil.rmtree(made, ignore_errors=True))

    def _clear_table(self, size: int) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                self._swept = True
                _sweep(self._folder, self._clock.now_us())
            free = shutil.disk_usage(self._folder).free
            if free < size + SPARE_BYTES:
                raise UnavailableError(
                    "the disk of data_dir has no room for this.",
                    hint="Make room there, or ask for a shorter range.",
                )
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._folder))
        except OSError as error:
            raise UnavailableError(
                f"no file can be made in {self._folder.name}: {error.strerror}.",
                hint="See that the disk of data_dir is there and has room.",
            ) from error

    async def fetch(self, blobs: Readable, segment: Segment, path: Path) -> None:
        """Copy a segment to a file of ours, and see that it is what was recorded.

        Raises:
            UnknownThingError: it is not in the storage any more.
            ConflictError: it is not what was recorded.
            UnavailableError: storage or disk are away.
        """
        digest = hashlib.sha256()
        await self.run(lambda: path.unlink(missing_ok=True))
        for start in range(0, segment.size, BLOCK_BYTES):
            block = await blobs.read_range(
                segment.blob, start, min(start + BLOCK_BYTES, segment.size)
            )
            digest.update(block)
            await self.run(partial(_append, path, block))
        if digest.hexdigest() != segment.sha256:
            log.error("a segment is not what was recorded", camera=segment.camera, key=segment.blob)
            raise ConflictError("a file of the recording is not what was recorded.")

    def close(self) -> None:
        """Let running work end and give the threads back. Idempotent."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _append(path: Path, block: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(block)
    except OSError as error:
        raise UnavailableError(
            f"a segment cannot be copied to this machine: {error.strerror}.",
            hint="See that the disk of data_dir is there and has room.",
        ) from error


def _sweep(folder: Path, now_us: int) -> None:
    """Remove what a process that was killed left here; other replicas may be at work beside us."""
    for left in folder.glob(f"{PREFIX}*"):
        if now_us / 1e6 - left.stat().st_mtime > LEFT_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
