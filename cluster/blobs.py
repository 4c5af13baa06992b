"""Files of one tenant: snapshots and the like. A local folder, or any storage that fsspec knows."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from cluster.aio import keep_cancellation
from cluster.files import sync
from cluster.log import redact
from cluster.tenancy import require_tenant
from pipelines.errors import (
    ConfigError,
    ConflictError,
    InputError,
    UnavailableError,
    UnknownThingError,
)

# Storage calls wait for disks and networks, not for the CPU: a few threads keep one slow call from
# holding up the others.
_THREADS = 4
_CHUNK_BYTES = 1 << 20
# A write to a local disk takes milliseconds, to object storage some hundred.
TIMEOUT_S = 20.0
# A line that uploads slower than this could not carry one camera's recording.
LEAST_BYTES_PER_S = 250_000
MAX_KEY_LENGTH = 512

# Each part starts with a letter or digit: no "..", no hidden file, no name of a temporary one.
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_KEY = re.compile(rf"{_PART}(/{_PART})*", re.ASCII)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class BlobStat:
    """Size in bytes, and a name of the content that changes when the blob is replaced."""

    size: int
    version: str


class TenantBlobs:
    """The blobs of one tenant, all under `<url>/<tenant>/`. Usable from one event loop.

    Keys are made of letters, digits, `.`, `_`, `-`, and `/` between parts.

    Args:
        url: fsspec URL of the storage of all tenants, like file:///var/lib/atalaia/blobs or
            s3://bucket/prefix.
        tenant: whose blobs.

    Raises:
        ConfigError: the URL cannot be used.
        InputError: `tenant` is no slug.
    """

    def __init__(self, url: str, tenant: str) -> None:
        require_tenant(tenant)
        self.tenant = tenant
        try:
            self._files, root = url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ConfigError(
                f"blobs.url {redact(url)} cannot be used: {redact(str(error))}.",
                hint="Use file:///folder, or s3://bucket/prefix with the extra `s3` installed.",
            ) from None
        self._root = f"{root.rstrip('/')}/{tenant}"
        self._local = isinstance(self._files, LocalFileSystem)
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"blobs-{tenant}")

    async def put(self, key: str, data: bytes, *, flush: bool = True) -> None:
        """Store `data`, in place of what was there. Readers see the old or the new, never a part.

        Args:
            flush: wait until a power cut cannot take it away. Without it a local file may be
                empty afterwards, unless `flush` was called before.

        Raises:
            InputError: `key` is not valid; ConflictError: a part of it is a blob already.
            UnavailableError: the storage is away or full.
        """
        path = self._path(key)
        if self._local:
            await self._run(lambda: self._write_local(path, data, flush))
        else:
            await self._run(lambda: self._write(path, data))

    async def flush(self, key: str) -> None:
        """Wait until a power cut cannot take this blob away. Object storage never has it that way.

        Raises:
            InputError: `key` is not valid; UnknownThingError: there is no such blob.
            UnavailableError: the disk refuses or is too slow.
        """
        path = self._path(key)
        if self._local:
            await self._run(lambda: sync(Path(path)))

    async def put_file(self, key: str, source: Path) -> None:
        """Store a file's content, as `put` does, without holding it in memory.

        Raises:
            InputError: `key` is not valid; ConflictError: a part of it is a blob already.
            UnknownThingError: there is no file `source`.
            UnavailableError: the storage is away, full, or too slow.
        """
        path = self._path(key)
        copy = self._copy_local if self._local else self._copy
        size = await self._run(lambda: source.stat().st_size)
        await self._run(lambda: copy(path, source), TIMEOUT_S + size / LEAST_BYTES_PER_S)

    async def get(self, key: str) -> bytes:
        """Raises InputError, UnknownThingError (no such blob), UnavailableError."""
        path = self._path(key)
        data: bytes = await self._known(lambda: self._files.cat_file(path))
        return data

    async def delete(self, key: str) -> None:
        """Remove a blob, if it is there. Raises InputError, UnavailableError."""
        path = self._path(key)
        try:
            await self._run(lambda: self._files.rm_file(path))
        except (UnknownThingError, ConflictError):
            return

    def url(self, key: str) -> str:
        """Where a blob lies, for those who read it piece by piece: a path, or an fsspec URL.
        Raises InputError."""
        path = self._path(key)
        return path if self._local else str(self._files.unstrip_protocol(path))

    async def stat(self, key: str) -> BlobStat:
        """Size and version of a blob. Raises InputError, UnknownThingError, UnavailableError."""
        path = self._path(key)

        def look() -> BlobStat:
            info = self._files.info(path)
            if info["type"] != "file":
                raise FileNotFoundError(path)
            version = hashlib.sha256(str(self._files.ukey(path)).encode()).hexdigest()
            return BlobStat(int(info["size"]), version[:32])

        return await self._known(look)

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of a blob; fewer where it ends before. Raises
        InputError, UnknownThingError, UnavailableError."""
        path = self._path(key)
        data: bytes = await self._known(lambda: self._files.cat_file(path, start=start, end=end))
        return data

    async def aclose(self) -> None:
        """Let running calls end and give the threads back. Idempotent."""
        self._executor.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _known(self, call: Callable[[], _T]) -> _T:
        """Run a call that reads: what cannot be there is not there."""
        try:
            return await self._run(call)
        except ConflictError:
            raise UnknownThingError("there is no such blob.") from None

    def _path(self, key: str) -> str:
        if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
            raise InputError(f"{key[:80]!r} is not the key of a blob.")
        return f"{self._root}/{key}"

    def _write(self, path: str, data: bytes) -> None:
        # Object storage shows an object when its upload is complete, and only then.
        self._files.pipe_file(path, data)

    def _write_local(self, path: str, data: bytes, flush: bool) -> None:
        with _replacing(path, flush=flush) as file:
            file.write(data)

    def _copy(self, path: str, source: Path) -> None:
        self._files.put_file(str(source), path)

    def _copy_local(self, path: str, source: Path) -> None:
        with source.open("rb") as content, _replacing(path) as file:
            shutil.copyfileobj(content, file, _CHUNK_BYTES)

    async def _run(self, call: Callable[[], _T], timeout_s: float = TIMEOUT_S) -> _T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                with keep_cancellation():
                    return await loop.run_in_executor(self._executor, call)
        except (FileNotFoundError, IsADirectoryError):
            raise UnknownThingError("there is no such blob, or no such file.") from None
        except (FileExistsError, NotADirectoryError):
            raise ConflictError("a part of the key is a blob already.") from None
        except TimeoutError:
            raise UnavailableError("the blob storage did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - each storage raises its vendor's own errors
            # Their texts may quote the URL, which may hold a credential.
            reason = f": {error.strerror}" if isinstance(error, OSError) else ""
            raise UnavailableError(
                f"the blob storage cannot be used: {type(error).__name__}{reason}."
            ) from None


@contextmanager
def _replacing(path: str, *, flush: bool = True) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place at the end of the block, or leaves no trace."""
    folder, _, name = path.rpartition("/")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    temporary = f"{folder}/.{name[:100]}.{uuid.uuid4().hex}"
    try:
        with open(temporary, "xb") as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
