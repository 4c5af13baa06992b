"""Files of one tenant: snapshots and the like. A local folder, or any storage that fsspec knows."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import os
import re
import shutil
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, Self, TypeVar

from fsspec.asyn import AsyncFileSystem

from cluster.core.aio import call_foreign, keep_cancellation
from cluster.core.files import sync
from cluster.core.log import redact
from cluster.core.tenancy import require_tenant
from cluster.stores.blobs.storage import code_of, open_storage, reason_of
from pipelines.errors import (
    ConfigError,
    ConflictError,
    InputError,
    NotFoundError,
    UnavailableError,
)
from pipelines.times import to_us

# Storage calls wait for disks and networks, not for the CPU: a few at once keep one slow call from
# holding up the others.
_AT_ONCE = 4
_CHUNK_BYTES = 1 << 20
# A write to a local disk takes milliseconds, to object storage some hundred.
TIMEOUT_S = 20.0
# A line that uploads slower than this could not carry one camera's recording.
LEAST_BYTES_PER_S = 250_000
MAX_KEY_LENGTH = 512
# Files of one folder in memory at once: some 5 MB. For each page a folder is read once, which takes
# 0.2 s where it has 100,000 files.
PAGE = 20_000
_BEHIND_THE_END = frozenset({"InvalidRange", "416"})

# Each part starts with a letter or digit: no "..", no hidden file, no name of a temporary one.
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_NAME = re.compile(_PART, re.ASCII)
_KEY = re.compile(rf"{_PART}(/{_PART})*", re.ASCII)
NO_BLOB = "there is no such blob, or no such file."
_T = TypeVar("_T")


def is_key(text: str) -> bool:
    """Whether `text` can be the key of a blob, or of a folder of blobs."""
    return len(text) <= MAX_KEY_LENGTH and _KEY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class BlobStat:
    """Size in bytes, and a name of the content that changes when the blob is replaced."""

    size: int
    version: str


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """A blob in a listing.

    Attributes:
        size: bytes.
        modified_us: when it was stored, by the storage's clock, UTC microseconds; None: unknown.
    """

    key: str
    size: int
    modified_us: int | None


class TenantBlobs:
    """The blobs of one tenant, all under `<url>/<tenant>/`. Usable from one event loop.

    Keys are made of letters, digits, `.`, `_`, `-`, and `/` between parts.

    Args:
        url: fsspec URL of the storage of all tenants, like file:///var/lib/atalaia/blobs or
            s3://bucket/prefix.
        tenant: whose blobs.
        timeout_s: of one call; sending a file is given more, by its size.
        before: called before each call to a local disk, in its thread; raises OSError where that is
            not to be used (`StorageFolder.require_marked`).
        permit: called with a key before a blob is removed by `delete`; raises UnavailableError
            where it must stay.

    Raises:
        ConfigError: the URL cannot be used.
        InputError: `tenant` is no slug.
    """

    def __init__(
        self,
        url: str,
        tenant: str,
        *,
        timeout_s: float = TIMEOUT_S,
        before: Callable[[], None] | None = None,
        permit: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        require_tenant(tenant)
        self.tenant = tenant
        self._before = before
        self._permit = permit
        self._timeout_s = timeout_s
        try:
            self._storage = open_storage(url)
        except ValueError as error:
            raise ConfigError(
                f"blobs.url {redact(url)} cannot be used: {error}.",
                hint="Use file:///folder, s3://bucket/prefix with the extra `s3` installed, or "
                "gs://bucket/prefix with the extra `gcs`.",
            ) from None
        self._root = f"{self._storage.path.rstrip('/')}/{tenant}"
        self._local = self._storage.local
        self._executor = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"blobs-{tenant}")
        self._slots = asyncio.Semaphore(_AT_ONCE)

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
            await self._run(self._threaded(partial(_write, path, data, flush)))
        else:
            # Object storage shows an object when its upload is complete, and only then.
            await self._sent(self._ask("pipe_file", path, data))

    async def flush(self, key: str) -> None:
        """Wait until a power cut cannot take this blob away. Object storage never has it that way.

        Raises:
            InputError: `key` is not valid; NotFoundError: there is no such blob.
            UnavailableError: the disk refuses or is too slow.
        """
        path = self._path(key)
        if self._local:
            await self._run(self._threaded(partial(_sync, Path(path))))

    async def put_file(self, key: str, source: Path) -> None:
        """Store a file's content, as `put` does, without holding it in memory.

        Raises:
            InputError: `key` is not valid; ConflictError: a part of it is a blob already.
            NotFoundError: there is no file `source`.
            UnavailableError: the storage is away, full, or too slow.
        """
        path = self._path(key)
        size = (await self._run(self._threaded(source.stat))).st_size
        more_s = size / LEAST_BYTES_PER_S
        if self._local:
            await self._run(self._threaded(partial(_copy, path, source)), more_s)
        else:
            upload = self._ask("put_file", str(source), path, **self._storage.upload)
            await self._sent(upload, more_s)

    async def get(self, key: str) -> bytes:
        """Raises InputError, NotFoundError (no such blob), UnavailableError."""
        data: bytes = await self._known(self._ask("cat_file", self._path(key)))
        return data

    async def delete(self, key: str) -> None:
        """Remove a blob, if it is there. Raises InputError, UnavailableError."""
        path = self._path(key)
        if self._permit is not None:
            await self._permit(key)
        try:
            await self._run(self._ask("rm_file", path))
        except (NotFoundError, ConflictError):
            return

    def url(self, key: str) -> str:
        """Where a blob lies, for those who read it piece by piece: a path, or an fsspec URL.
        Raises InputError."""
        return self._storage.url(self._path(key))

    async def stat(self, key: str) -> BlobStat:
        """Size and version of a blob. Raises InputError, NotFoundError, UnavailableError."""
        info = await self._known(self._ask("info", self._path(key)))
        if info["type"] != "file":
            raise NotFoundError(NO_BLOB)
        version = hashlib.sha256(str(info).encode()).hexdigest()
        return BlobStat(int(info["size"]), version[:32])

    async def pages(
        self, folder: str, firsts: str, *, after: str = ""
    ) -> AsyncGenerator[list[ListedBlob], None]:
        """The blobs of one folder in the order of their names, in pages that fit into memory. Those
        of folders below are left out. Names that are the same up to their first dot come in one
        page.

        Args:
            firsts: characters with which names begin, in order; others are left out. Object
                storage is asked for one after the other.
            after: the name behind which to begin.

        Raises:
            InputError: `folder` is not valid; UnavailableError.
        """
        path = self._path(folder)
        listed = self._local_pages if self._local else self._remote_pages
        async with aclosing(listed(path, firsts, after)) as pages:
            async for page in pages:
                yield page

    async def _local_pages(
        self, path: str, firsts: str, after: str
    ) -> AsyncGenerator[list[ListedBlob], None]:
        key = path.removeprefix(f"{self._root}/")
        last: str | None = after
        while last is not None:
            read = partial(_page, path, key, firsts, last)
            try:
                page, last = await self._run(self._threaded(read))
            except NotFoundError:
                return
            yield page

    async def _remote_pages(
        self, path: str, firsts: str, after: str
    ) -> AsyncGenerator[list[ListedBlob], None]:
        root, start = f"{self._root}/", f"{path}/{after}"
        for first in firsts:
            if first < after[:1]:
                continue
            try:
                infos = await self._run(self._ask("find", path, prefix=first, detail=True))
            except NotFoundError:
                continue
            found = [
                ListedBlob(key.removeprefix(root), info["size"], _modified_us(info))
                for key, info in infos.items()
                if key > start and _NAME.fullmatch(key.removeprefix(f"{path}/"))
            ]
            yield sorted(found, key=lambda blob: blob.key)

    async def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder. Raises InputError, UnavailableError."""
        inner, _ = await self.within(folder)
        return [key.rpartition("/")[2] for key in inner]

    async def within(self, folder: str = "") -> tuple[list[str], list[ListedBlob]]:
        """Folders in a folder, and the blobs that lie in it directly, both by key; "": of the
        whole tenant. Also blobs of which a write was broken off. Raises UnavailableError."""
        try:
            path = self._path(folder) if folder else self._root
            infos = await self._run(self._ask("ls", path, detail=True))
        except NotFoundError:
            return [], []
        folders, blobs = [], []
        for info in infos:
            found = str(info["name"]).rstrip("/")
            name = found.rpartition("/")[2]
            key = f"{folder}/{name}" if folder else name
            if found == path.rstrip("/"):
                continue  # some object storages list the folder itself
            if info["type"] == "directory":
                folders.append(key)
            else:
                blobs.append(ListedBlob(key, int(info["size"] or 0), _modified_us(info)))
        return sorted(folders), sorted(blobs, key=lambda blob: blob.key)

    async def erase(self, blobs: Sequence[ListedBlob]) -> None:
        """Remove blobs that `within` found, whatever their names are; those that are gone are no
        error. Raises UnavailableError."""
        for blob in blobs:
            try:
                await self._run(self._ask("rm_file", f"{self._root}/{blob.key}"))
            except NotFoundError:
                continue

    async def erase_folders(self) -> None:
        """Remove what is left of the tenant's folder when no blob is. Raises UnavailableError."""
        try:
            await self._run(self._ask("rm", self._root, recursive=True))
        except NotFoundError:
            return

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of a blob; fewer where it ends before. Raises
        InputError, NotFoundError, UnavailableError."""
        if end <= start:
            await self.stat(key)
            return b""  # HTTP cannot express an empty range, and would send the whole blob
        return await self._known(self._range(self._path(key), start, end))

    async def aclose(self) -> None:
        """Let running calls end and give the threads back. Idempotent."""
        self._executor.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ------------------------------------------------------------ calls of the storage

    def _path(self, key: str) -> str:
        if not is_key(key):
            raise InputError(f"{key[:80]!r} is not the key of a blob.")
        return f"{self._root}/{key}"

    async def _ask(self, method: str, *args: object, **options: object) -> Any:
        """Call a method of fsspec's file system.

        One that waits for a network is awaited on fsspec's own loop: so a call that takes too long
        ends there, too, and those who come after it are not behind it.
        """
        files = self._storage.files
        if not isinstance(files, AsyncFileSystem):
            return await self._threaded(partial(getattr(files, method), *args, **options))
        async with self._slots:
            call = getattr(files, f"_{method}")(*args, **options)
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, files.loop))

    async def _threaded(self, call: Callable[[], _T]) -> _T:
        if self._before is not None:
            call = partial(_after, self._before, call)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call_foreign, call)

    async def _range(self, path: str, start: int, end: int) -> bytes:
        try:
            data: bytes = await self._ask("cat_file", path, start=start, end=end)
        except Exception as error:
            if code_of(error) not in _BEHIND_THE_END:
                raise
            return b""
        return data

    async def _known(self, call: Awaitable[_T]) -> _T:
        """Run a call that reads: what cannot be there is not there."""
        try:
            return await self._run(call)
        except ConflictError:
            raise NotFoundError(NO_BLOB) from None

    async def _sent(self, call: Awaitable[None], more_s: float = 0.0) -> None:
        """Run a call that writes to object storage, which has no folders: only the bucket can be
        missing."""
        try:
            await self._run(call, more_s)
        except NotFoundError:
            raise _no_bucket() from None

    async def _run(self, call: Awaitable[_T], more_s: float = 0.0) -> _T:
        try:
            async with asyncio.timeout(self._timeout_s + more_s):
                with keep_cancellation():
                    return await call
        except (FileNotFoundError, IsADirectoryError) as error:
            if code_of(error) == "NoSuchBucket":
                raise _no_bucket() from None
            raise NotFoundError(NO_BLOB) from None
        except (FileExistsError, NotADirectoryError):
            raise ConflictError("a part of the key is a blob already.") from None
        except TimeoutError:
            raise UnavailableError("the blob storage did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - each storage raises its vendor's own errors
            raise UnavailableError(
                f"the blob storage cannot be used: {reason_of(error)}."
            ) from None


def _after(before: Callable[[], None], call: Callable[[], _T]) -> _T:
    before()
    return call()


def _no_bucket() -> UnavailableError:
    return UnavailableError(
        "the blob storage has no such bucket.", hint="Make the one that blobs.url names."
    )


def _page(path: str, key: str, firsts: str, after: str) -> tuple[list[ListedBlob], str | None]:
    """The next files of a local folder, and the last name that was looked at; None: that was all.
    What is being written has a hidden name.

    Args:
        key: of the folder.
    """
    with os.scandir(path) as entries:
        names = heapq.nsmallest(
            PAGE,
            (e.name for e in entries if e.name > after and e.name[0] in firsts),
        )
    last = None
    if len(names) == PAGE:
        # Whether all files of the last group are in it is not known: it begins the next page.
        group = _group_of(names[-1])
        whole = [name for name in names if _group_of(name) != group]
        names = whole or names
        last = names[-1]
    found = [_stat(path, key, name) for name in names if _NAME.fullmatch(name)]
    return [blob for blob in found if blob is not None], last


def _group_of(name: str) -> str:
    return name.partition(".")[0]


def _stat(path: str, key: str, name: str) -> ListedBlob | None:
    """None: it is no file, or was removed meanwhile."""
    try:
        found = os.stat(f"{path}/{name}")
    except FileNotFoundError:
        return None
    if not S_ISREG(found.st_mode):
        return None
    return ListedBlob(f"{key}/{name}", found.st_size, found.st_mtime_ns // 1_000)


def _modified_us(info: dict[str, Any]) -> int | None:
    """When an object was stored, by what its storage calls it."""
    for name in ("LastModified", "mtime", "updated"):
        match info.get(name):
            case datetime() as moment if moment.tzinfo is not None:
                return to_us(moment)
            case str() as text:
                return to_us(datetime.fromisoformat(text))
    return None


def _sync(path: Path) -> None:
    sync(path)
    sync(path.parent)  # its name there


def _write(path: str, data: bytes, flush: bool) -> None:
    with _replacing(path, flush=flush) as file:
        file.write(data)


def _copy(path: str, source: Path) -> None:
    with source.open("rb") as content, _replacing(path) as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)


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
