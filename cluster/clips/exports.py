"""Exports: a range of one camera's recording as one MP4 with a manifest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

from cluster.clips.coverage import Span, segments_from
from cluster.clips.manifest import COPIED, Manifest, manifest_of
from cluster.clips.scratch import Readable, Scratch
from cluster.clips.stitch import Stitched, Stitcher
from pipelines.clock import Clock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, NotFoundError
from pipelines.times import rfc3339


class Storage(Readable, Protocol):
    """A tenant's blob storage."""

    async def put(self, key: str, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export. Times are UTC microseconds, `to_us` is exclusive; `by`: who requested it."""

    tenant: str
    camera: str
    from_us: int
    to_us: int
    by: str


Finish = Callable[[Stitched], Awaitable[Stitched]]
"""Makes another file of an export, before its manifest is written."""


def manifest_key(export: UUID) -> str:
    """Key of an export's manifest in the tenant's storage."""
    return f"exports/{export}.json"


async def make_export(
    request: ExportRequest,
    segments: Sequence[Segment],
    *,
    storage: Storage,
    scratch: Scratch,
    folder: Path,
    clock: Clock,
    finish: Finish | None = None,
    method: str = COPIED,
) -> tuple[Stitched, Manifest]:
    """Write the export into `folder` and store its manifest.

    Segments are fetched one by one, so that the disk holds the export and one segment.

    Args:
        segments: of the range, oldest first.
        finish: what is done to the file before it is described.
        method: how the file was made of the sources, for the manifest.

    Raises:
        NotFoundError: nothing was recorded in the range.
        ConflictError: the camera's format changes within the range, or a segment was changed.
        UnavailableError: storage or disk is down.
    """
    segments = segments_from(segments, request.from_us)
    audio = await _audio_source(segments, storage, scratch, folder)
    stitcher = Stitcher(folder / "export.mp4", request.from_us, request.to_us, audio)
    with stitcher:
        used = []
        for segment in segments:
            if await _add(stitcher, segment, storage, scratch, folder):
                used.append(segment)
        stitched = await scratch.run(stitcher.close)
        if stitched is None:
            raise NotFoundError(
                f"nothing of camera {request.camera} was recorded in that time range.",
                hint="GET /v1/recordings lists all recordings.",
            )
    if finish is not None:
        stitched = await finish(stitched)
    manifest = manifest_of(
        uuid4(),
        request.tenant,
        request.camera,
        Span(request.from_us, request.to_us),
        stitched,
        used,
        clock.now_us(),
        request.by,
        method=method,
    )
    body = manifest.model_dump_json(indent=2).encode()
    await storage.put(manifest_key(manifest.id), body)
    return stitched, manifest


async def _add(
    stitcher: Stitcher, segment: Segment, storage: Readable, scratch: Scratch, folder: Path
) -> int:
    """Append a segment; returns the number of frames taken. A deleted segment yields 0."""
    path = folder / "segment.mp4"
    try:
        await scratch.fetch(storage, segment, path)
        return await scratch.run(lambda: stitcher.add(path, segment.origin_us))
    except NotFoundError:
        return 0  # deleted meanwhile; the manifest shows the gap
    except ConflictError as error:
        raise ConflictError(
            f"the recording cannot be exported in one piece: at {rfc3339(segment.start_us)}, "
            + error.message,
            hint="Export the parts before and after that time separately.",
        ) from None


async def _audio_source(
    segments: Sequence[Segment], storage: Readable, scratch: Scratch, folder: Path
) -> Path | None:
    """The first segment with audio, as a file. It determines the format of the audio track."""
    for segment in segments:
        if segment.audio is not None:
            path = folder / "audio.mp4"
            try:
                await scratch.fetch(storage, segment, path)
            except NotFoundError:
                continue
            return path
    return None
