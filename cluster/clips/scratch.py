"""Scratch space: temporary folders on the local disk, and threads for blocking work."""

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
# A read of object storage takes some 50 ms, however small. Up to four blocks are in memory.
BLOCK_BYTES = 4 * 1024 * 1024
# No clip or export takes this long. Older folders were left by a killed process.
LEFT_AFTER_S = 24 * 3600
# Free space to leave for everything else.
SPARE_BYTES = 256 * 1024 * 1024

_T = TypeVar("_T")


class Readable(Protocol):
    """The part of a tenant's blob storage needed to read segments."""

    async def read_range(self, key: str, start: int, end: int) -> bytes: ...


class Scratch:
    """Owns a thread pool and a folder for temporary files.

    Args:
        folder: created on first use.
        threads: how many files are made in parallel.
        clock: for the age of what a killed process left.
    """

    def __init__(self, folder: Path, threads: int, *, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="evidence")
        self._swept = False

    async def run(self, call: Callable[[], _T]) -> _T:
        """Run a blocking call in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    @asynccontextmanager
    async def folder_for(self, size: int) -> AsyncIterator[Path]:
        """A new empty folder, removed at the end in any case.

        Args:
            size: bytes needed on the disk.

        Raises:
            UnavailableError: the disk has less free space, or cannot be used.
        """
        making = asyncio.ensure_future(self.run(lambda: self._make_folder(size)))
        try:
            yield await asyncio.shield(making)
        finally:
            # Even if the caller is cancelled meanwhile, the folder is made and then removed.
            await asyncio.shield(self._remove(making))

    async def _remove(self, making: asyncio.Future[Path]) -> None:
        [folder] = await asyncio.gather(making, return_exceptions=True)
        if isinstance(folder, Path):
            await self.run(lambda: shutil.rmtree(folder, ignore_errors=True))

    def _make_folder(self, size: int) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                self._swept = True
                _sweep(self._folder, self._clock.now_us())
            free = shutil.disk_usage(self._folder).free
            if free < size + SPARE_BYTES:
                raise UnavailableError(
                    "the disk of data_dir has too little free space for this.",
                    hint="Free some space, or request a shorter range.",
                )
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._folder))
        except OSError as error:
            raise UnavailableError(
                f"no folder can be created in {self._folder.name}: {error.strerror}.",
                hint="Check that the disk of data_dir is mounted and has free space.",
            ) from error

    async def fetch(self, blobs: Readable, segment: Segment, path: Path) -> None:
        """Copy a segment to a local file and check its hash.

        Raises:
            NotFoundError: it no longer exists in storage.
            ConflictError: its content was changed.
            UnavailableError: storage or disk is down.
        """
        if await self.copy(blobs, segment.blob, segment.size, path) != segment.sha256:
            log.error("segment changed in storage", camera=segment.camera, key=segment.blob)
            raise ConflictError("a segment of the recording was changed in storage.")

    async def copy(self, blobs: Readable, key: str, size: int, path: Path) -> str:
        """Copy a blob of `size` bytes to a local file. Returns the hash of what was read.

        Raises:
            NotFoundError: it no longer exists in storage.
            UnavailableError: storage or disk is down.
        """
        digest = hashlib.sha256()
        await self.run(lambda: path.unlink(missing_ok=True))
        for start in range(0, size, BLOCK_BYTES):
            block = await blobs.read_range(key, start, min(start + BLOCK_BYTES, size))
            digest.update(block)
            await self.run(partial(_append, path, block))
        return digest.hexdigest()

    def close(self) -> None:
        """Let running work finish and release the threads. Idempotent."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _append(path: Path, block: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(block)
    except OSError as error:
        raise UnavailableError(
            f"a segment cannot be copied to this machine: {error.strerror}.",
            hint="Check that the disk of data_dir is mounted and has free space.",
        ) from error


def _sweep(folder: Path, now_us: int) -> None:
    """Remove folders of killed processes. Other replicas may be using the same parent folder."""
    for left in folder.glob(f"{PREFIX}*"):
        if now_us / 1e6 - left.stat().st_mtime > LEFT_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
