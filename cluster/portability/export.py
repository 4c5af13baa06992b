"""Writes an export of a tenant into a folder. It may be broken off anywhere and begun again: files
that are there and have not changed are not copied twice."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Protocol

from cluster.core.files import sync
from cluster.core.log import get_logger
from cluster.portability.manifest import (
    MANIFEST,
    MEDIA,
    MEDIA_LIST,
    ListedFile,
    MediaFile,
    TenantManifest,
    left_out,
    line_of,
    read_media,
)
from cluster.stores.blobs.tenant import ListedBlob, TenantBlobs, is_key
from cluster.stores.db.dump import TenantDump
from pipelines.clock import Clock
from pipelines.errors import InputError, NotFoundError
from pipelines.times import rfc3339

log = get_logger("portability")

# Of a file, in memory.
BLOCK_BYTES = 8 << 20
PART = ".part"


class Progress(Protocol):
    """What an export reports while it runs."""

    def rows(self, kind: str, lines: int) -> None:
        """So many more rows of a kind are written."""
        ...

    def found(self, files: int, size: int) -> None:
        """So many files of media are there, of so many bytes together."""
        ...

    def copied(self, size: int) -> None:
        """One more of them is in the folder, of so many bytes."""
        ...


class TenantExport:
    """One export.

    Args:
        folder: made where it is missing; nobody else should write there.
        dump, blobs: of the tenant; closed by the caller.
    """

    def __init__(
        self,
        folder: Path,
        dump: TenantDump,
        blobs: TenantBlobs,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._dump = dump
        self._blobs = blobs
        self._clock = clock
        self._progress = progress
        self._misnamed = 0

    async def run(self) -> TenantManifest:
        """Write everything, the manifest last.

        Raises:
            InputError: the folder has the export of another tenant, or cannot be written.
            UnavailableError: a store is away. What is written stays, and the next run goes on.
        """
        begun_at, self._misnamed = rfc3339(self._clock.now_us()), 0
        try:
            await asyncio.to_thread(self._begin)
            rows = [await self._rows(kind) for kind in self._dump.kinds]
            media, size = await self._media()
            manifest = TenantManifest(
                tenant=self._dump.tenant,
                begun_at=begun_at,
                ended_at=rfc3339(self._clock.now_us()),
                rows=tuple(rows),
                media=media,
                media_bytes=size,
                left_out=left_out(self._misnamed),
            )
            text = manifest.model_dump_json(indent=2).encode() + b"\n"
            await asyncio.to_thread(_replace, self._folder / MANIFEST, text)
        except OSError as error:
            raise InputError(f"cannot write to {self._folder}: {error.strerror}.") from None
        return manifest

    def _begin(self) -> None:
        """Without a manifest until it is whole."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = self._folder / "tenant"
        if marker.exists() and marker.read_text(encoding="utf-8") != self._dump.tenant:
            raise InputError(
                f"{self._folder} has the export of another tenant.", hint="Name another folder."
            )
        if not marker.exists() and any(self._folder.iterdir()):
            raise InputError(f"{self._folder} is not empty.", hint="Name another folder.")
        marker.write_text(self._dump.tenant, encoding="utf-8")
        (self._folder / MANIFEST).unlink(missing_ok=True)

    # ------------------------------------------------------------ rows

    async def _rows(self, kind: str) -> ListedFile:
        name = f"{kind}.jsonl"
        part, lines = self._folder / f"{name}{PART}", 0
        file = await asyncio.to_thread(_open_new, part)
        try:
            async for page in self._dump.rows(kind):
                await asyncio.to_thread(file.write, b"".join(map(line_of, page)))
                lines += len(page)
                self._progress.rows(kind, len(page))
        finally:
            await asyncio.to_thread(file.close)
        return await asyncio.to_thread(_finish, part, self._folder / name, lines)

    # ------------------------------------------------------------ media

    async def _media(self) -> tuple[ListedFile, int]:
        """Copy what is not there yet. The list of what is there grows with each file, so that a run
        that is broken off is not begun from nothing."""
        part = self._folder / f"{MEDIA_LIST}{PART}"
        known = await asyncio.to_thread(self._known, part)
        there = [blob async for blob in self._listed()]
        self._progress.found(len(there), sum(blob.size for blob in there))
        kept: dict[str, MediaFile] = {}
        file = await asyncio.to_thread(part.open, "ab")
        try:
            for blob in there:
                media = await self._one(blob, known.get(blob.key))
                if media is not None:
                    kept[media.key] = media
                    if media is not known.get(media.key):
                        await asyncio.to_thread(_append, file, media)
                self._progress.copied(blob.size)
        finally:
            await asyncio.to_thread(file.close)
        lines = [line_of(kept[key].model_dump()) for key in sorted(kept)]
        await asyncio.to_thread(_replace, part, b"".join(lines))
        target = self._folder / MEDIA_LIST
        listed = await asyncio.to_thread(_finish, part, target, len(kept))
        return listed, sum(media.size for media in kept.values())

    def _known(self, part: Path) -> dict[str, MediaFile]:
        """What earlier runs copied; a torn end is cut off."""
        found: dict[str, MediaFile] = {}
        for path in (self._folder / MEDIA_LIST, part):
            if path.exists():
                found |= {media.key: media for media in read_media(path)}
        _replace(part, b"".join(line_of(media.model_dump()) for media in found.values()))
        return found

    async def _listed(self) -> AsyncIterator[ListedBlob]:
        """Every blob; what a broken-off write left is none."""
        folders = [""]
        while folders:
            inner, blobs = await self._blobs.within(folders.pop())
            folders += [folder for folder in reversed(inner) if self._is_ours(folder)]
            for blob in blobs:
                hidden = blob.key.rpartition("/")[2].startswith(".")
                if not hidden and self._is_ours(blob.key):
                    yield blob

    def _is_ours(self, key: str) -> bool:
        """Whether something has a name that this application gives. What has another one is left
        out, and named in the manifest."""
        if is_key(key):
            return True
        log.warning("left out, because no file of ours has such a name", key=ascii(key[:200]))
        self._misnamed += 1
        return False

    async def _one(self, blob: ListedBlob, known: MediaFile | None) -> MediaFile | None:
        """One file, in the folder; None: it was removed meanwhile."""
        target = self._folder / MEDIA / blob.key
        try:
            version = (await self._blobs.stat(blob.key)).version
            if known is not None and known.version == version:
                if await asyncio.to_thread(_has, target, known.size):
                    return known
            return await self._copied(blob.key, version, target)
        except NotFoundError:
            log.info("removed while it was exported", key=blob.key)
            return None

    async def _copied(self, key: str, version: str, target: Path) -> MediaFile:
        part = target.with_name(f".{target.name[:200]}{PART}")
        sha256, size = hashlib.sha256(), 0
        file = await asyncio.to_thread(_open_new, part)
        try:
            while block := await self._blobs.read_range(key, size, size + BLOCK_BYTES):
                await asyncio.to_thread(file.write, block)
                sha256.update(block)
                size += len(block)
                if len(block) < BLOCK_BYTES:
                    break
        finally:
            await asyncio.to_thread(file.close)
        await asyncio.to_thread(os.replace, part, target)
        return MediaFile(key=key, size=size, version=version, sha256=sha256.hexdigest())


# ---------------------------------------------------------------- files; all of these block


def _open_new(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _append(file: BinaryIO, media: MediaFile) -> None:
    file.write(line_of(media.model_dump()))
    file.flush()


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}{PART}")
    with _open_new(part) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync(path.parent)


def _finish(part: Path, target: Path, lines: int) -> ListedFile:
    sha256, size = hashlib.sha256(), 0
    with part.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            sha256.update(block)
            size += len(block)
    os.replace(part, target)
    sync(target.parent)
    return ListedFile(name=target.name, lines=lines, size=size, sha256=sha256.hexdigest())
