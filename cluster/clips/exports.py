"""Exports: a stretch of one camera's recording as one MP4, and its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

from cluster.clips.manifest import Manifest, manifest_of
from cluster.clips.scratch import Readable, Workshop
from cluster.clips.stitch import Stitched, Stitcher
from cluster.clips.timeline import Span, needed_from
from pipelines.clock import Clock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, UnknownThingError
from pipelines.times import rfc3339


class Storage(Readable, Protocol):
    async def put(self, key: str, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which stretch (UTC microseconds, `to_us` exclusive), of whose camera, for whom."""

    tenant: str
    camera: str
    from_us: int
    to_us: int
    by: str


def manifest_key(export: UUID) -> str:
    """Where the manifest of an export lies in the tenant's storage."""
    return f"exports/{export}.json"


async def make_export(
    request: ExportRequest,
    segments: Sequence[Segment],
    *,
    storage: Storage,
    workshop: Workshop,
    folder: Path,
    clock: Clock,
) -> tuple[Stitched, Manifest]:
    """The file in `folder`, and its manifest, which is stored too.

    Segments are fetched one after the other, so that the disk holds the export and one of them.

    Args:
        segments: of the range, oldest first.

    Raises:
        UnknownThingError: nothing was recorded then.
        ConflictError: the camera changed its format within the range, or a file of the recording
            is not what was recorded.
        UnavailableError: storage or disk are away.
    """
    segments = needed_from(segments, request.from_us)
    sound = await _sound(segments, storage, workshop, folder)
    stitcher = Stitcher(folder / "export.mp4", request.from_us, request.to_us, sound)
    with stitcher:
        used = []
        for segment in segments:
            if await _add(stitcher, segment, storage, workshop, folder):
                used.append(segment)
        made = await workshop.run(stitcher.close)
        if made is None:
            raise UnknownThingError(
                f"nothing of camera {request.camera} was recorded then.",
                hint="GET /v1/recordings lists what there is.",
            )
    manifest = manifest_of(
        uuid4(),
        request.tenant,
        request.camera,
        Span(request.from_us, request.to_us),
        made,
        used,
        clock.now_us(),
        request.by,
    )
    body = manifest.model_dump_json(indent=2).encode()
    await storage.put(manifest_key(manifest.id), body)
    return made, manifest


async def _add(
    stitcher: Stitcher, segment: Segment, storage: Readable, workshop: Workshop, folder: Path
) -> int:
    path = folder / "segment.mp4"
    try:
        await workshop.fetch(storage, segment, path)
        return await workshop.run(lambda: stitcher.add(path, segment.origin_us))
    except UnknownThingError:
        return 0  # it became too old while we were at work; the manifest shows the gap
    except ConflictError as error:
        raise ConflictError(
            f"the recording cannot be exported in one piece: at {rfc3339(segment.start_us)}, "
            + error.message,
            hint="Export what lies before that time, and what lies after it.",
        ) from None


async def _sound(
    segments: Sequence[Segment], storage: Readable, workshop: Workshop, folder: Path
) -> Path | None:
    """The first segment that has sound, as a file; the format of the track comes from it."""
    for segment in segments:
        if segment.audio is not None:
            path = folder / "sound.mp4"
            try:
                await workshop.fetch(storage, segment, path)
            except UnknownThingError:
                continue
            return path
    return None
