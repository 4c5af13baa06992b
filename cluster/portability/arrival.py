"""What a tenant has outside SQL, copied from the stores of one cluster into those of another. Each
part may be broken off anywhere and begun again."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cluster.core.files import sync
from cluster.portability.export import BLOCK_BYTES, Progress
from cluster.portability.manifest import MediaFile, line_of, read_media
from cluster.stores.blobs.tenant import ListedBlob, TenantBlobs
from cluster.stores.vectors.tenant import (
    Remembered,
    TenantVectors,
    VectorClient,
    collections,
    ensure_collection,
)
from pipelines.erasure import Target
from pipelines.errors import ConflictError, NotFoundError

# Vectors are stored with a length of 1, which is worked out anew: float32 has 24 bits.
_TOLERANCE = 1e-5


class MediaCopy:
    """Copies the files of a tenant.

    Args:
        source, target: of the tenant, in each cluster; closed by the caller.
        folder: of this move, on this machine: the journal of what was copied and checked, and the
            file that is on its way.
    """

    def __init__(
        self, source: TenantBlobs, target: TenantBlobs, folder: Path, progress: Progress
    ) -> None:
        self._source = source
        self._target = target
        self._journal = folder / "media.jsonl"
        self._part = folder / "file.part"
        self._progress = progress

    async def run(self) -> None:
        """Copy what is missing or has changed, check it in its new place, and remove what is not at
        the source any more.

        Raises:
            ConflictError: a file is not what was written.
            UnavailableError: a storage is away.
        """
        known = await asyncio.to_thread(self._known)
        there = [blob async for blob in listed(self._source)]
        found = {blob.key: blob async for blob in listed(self._target)}
        self._progress.found(len(there), sum(blob.size for blob in there))
        for blob in there:
            await self._one(blob, known.get(blob.key), found.get(blob.key))
            self._progress.copied(blob.size)
        gone = found.keys() - {blob.key for blob in there}
        await self._target.erase([found[key] for key in sorted(gone)])

    async def differences(self) -> list[str]:
        """Keys of files that are in one cluster only, or of another size. Raises
        UnavailableError."""
        mine = {blob.key: blob.size async for blob in listed(self._source)}
        theirs = {blob.key: blob.size async for blob in listed(self._target)}
        return sorted(key for key in mine | theirs if mine.get(key) != theirs.get(key))

    async def _one(
        self, blob: ListedBlob, known: MediaFile | None, there: ListedBlob | None
    ) -> None:
        try:
            version = (await self._source.stat(blob.key)).version
            same = known is not None and known.version == version
            if same and there is not None and there.size == blob.size:
                return
            media = await self._copied(blob.key, version)
        except NotFoundError:
            return  # removed meanwhile; the next run removes the copy
        await asyncio.to_thread(self._note, media)

    async def _copied(self, key: str, version: str) -> MediaFile:
        sha256, size = hashlib.sha256(), 0
        file = await asyncio.to_thread(_private, self._part)
        try:
            async for block in blocks(self._source, key):
                await asyncio.to_thread(file.write, block)
                sha256.update(block)
                size += len(block)
        finally:
            await asyncio.to_thread(file.close)
        await self._target.put_file(key, self._part)
        read = hashlib.sha256()
        async for block in blocks(self._target, key):
            read.update(block)
        if read.digest() != sha256.digest():
            raise ConflictError(
                f"{key} is not in the pod what was written there.", hint="Run the command again."
            )
        return MediaFile(key=key, size=size, version=version, sha256=sha256.hexdigest())

    def _known(self) -> dict[str, MediaFile]:
        """Blocking. The journal without what was written twice, or torn."""
        self._journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._journal.exists():
            return {}
        found = {media.key: media for media in read_media(self._journal)}
        part = self._journal.with_suffix(".part")
        with _private(part) as file:
            file.writelines(line_of(media.model_dump()) for media in found.values())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._journal)
        sync(self._journal.parent)
        return found

    def _note(self, media: MediaFile) -> None:
        with self._journal.open("ab") as file:
            file.write(line_of(media.model_dump()))


class VectorCopy:
    """Copies what a tenant's memory holds, in every collection.

    Args:
        source, target: of each cluster; closed by the caller.
    """

    def __init__(self, source: VectorClient, target: VectorClient, tenant: str) -> None:
        self._source = source
        self._target = target
        self._tenant = tenant

    async def count(self) -> int:
        """Vectors at the source. Raises UnavailableError."""
        return sum(
            [await vectors.count() for vectors in await memories(self._source, self._tenant)]
        )

    async def run(self) -> None:
        """Copy all, in the place of what an earlier run copied. Raises UnavailableError."""
        await forget(self._target, self._tenant)
        for name, dim in (await collections(self._source)).items():
            source = TenantVectors(self._source, name, self._tenant)
            if not await source.count():
                continue
            await ensure_collection(self._target, name, dim)
            target = TenantVectors(self._target, name, self._tenant)
            async for page in source.pages():
                await target.upsert([(one.sighting, one.vector) for one in page])

    async def differences(self) -> list[str]:
        """Tracks of what is not remembered as at the source. Raises UnavailableError."""
        found: list[str] = []
        theirs = await collections(self._target)
        for name in await collections(self._source):
            source = TenantVectors(self._source, name, self._tenant)
            target = TenantVectors(self._target, name, self._tenant) if name in theirs else None
            if await source.count() != (await target.count() if target else 0):
                found.append(f"the number in {name}")
            if target is not None:
                async for page in source.pages():
                    found += await _unlike(page, target)
        return found


async def memories(client: VectorClient, tenant: str) -> list[TenantVectors]:
    """What a tenant remembers, in every collection. Raises UnavailableError."""
    return [TenantVectors(client, name, tenant) for name in await collections(client)]


async def forget(client: VectorClient, tenant: str) -> None:
    """Remove what a tenant remembers from every collection. Raises UnavailableError."""
    for vectors in await memories(client, tenant):
        await vectors.erase()


async def _unlike(page: list[Remembered], target: TenantVectors) -> list[str]:
    wanted = {Target(one.sighting.camera, one.sighting.track): one for one in page}
    there = {
        Target(one.sighting.camera, one.sighting.track): one
        for one in await target.read(list(wanted))
    }
    return [
        key.track
        for key, one in wanted.items()
        if key not in there
        or there[key].sighting != one.sighting
        or not np.allclose(there[key].vector, one.vector, atol=_TOLERANCE)
    ]


async def listed(blobs: TenantBlobs) -> AsyncIterator[ListedBlob]:
    """Every file; what a broken-off write left is none. Raises UnavailableError."""
    folders = [""]
    while folders:
        inner, found = await blobs.within(folders.pop())
        folders += reversed(inner)
        for blob in found:
            if not blob.key.rpartition("/")[2].startswith("."):
                yield blob


async def blocks(blobs: TenantBlobs, key: str) -> AsyncIterator[bytes]:
    """A file, piece by piece. Raises NotFoundError, UnavailableError."""
    start = 0
    while block := await blobs.read_range(key, start, start + BLOCK_BYTES):
        yield block
        start += len(block)
        if len(block) < BLOCK_BYTES:
            return


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
