"""The manifest of an export: contents, sources, and hashes to verify them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from cluster.clips.coverage import Span
from cluster.core.files import digest
from pipelines.domain import Frozen, Segment
from pipelines.errors import ConflictError, InputError
from pipelines.times import moment_of

if TYPE_CHECKING:
    from cluster.clips.stitch import Stitched  # the CLI runs without libav


COPIED = "Packets were copied from the sources; no picture was encoded again."
HIDDEN = "Persons were hidden under the tenant's policy; every picture was encoded again."


class Stretch(Frozen):
    """A time range. `to` is exclusive."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    since: AwareDatetime = Field(alias="from")
    until: AwareDatetime = Field(alias="to")


class ExportedFile(Frozen):
    """The exported MP4 file."""

    sha256: str
    size: int
    frames: int
    audio: bool


class SourceSegment(Stretch):
    """A segment of the recording that the export was made from."""

    key: str
    sha256: str
    size: int
    codec: str
    width: int
    height: int
    masked: bool
    note: str


class Manifest(Frozen):
    """Stored beside the export, and in the tenant's storage, where no outsider can change it."""

    version: Literal[1] = 1
    id: UUID
    tenant: str
    camera: str
    asked: Stretch
    covered: Stretch
    gaps: tuple[Stretch, ...]
    file: ExportedFile
    sources: tuple[SourceSegment, ...]
    created_at: AwareDatetime
    created_by: str
    method: str = COPIED


def stretch(span: Span) -> Stretch:
    """A span as it stands in a manifest."""
    return Stretch(since=moment_of(span.from_us), until=moment_of(span.to_us))


def source_of(segment: Segment) -> SourceSegment:
    """A segment as it stands in a manifest."""
    return SourceSegment(
        key=segment.blob,
        sha256=segment.sha256,
        size=segment.size,
        since=moment_of(segment.start_us),
        until=moment_of(segment.end_us),
        codec=segment.codec,
        width=segment.width,
        height=segment.height,
        masked=segment.masked,
        note=segment.note,
    )


def manifest_of(
    id: UUID,
    tenant: str,
    camera: str,
    asked: Span,
    stitched: Stitched,
    sources: list[Segment],
    created_us: int,
    created_by: str,
    method: str = COPIED,
) -> Manifest:
    """The manifest of an export.

    Args:
        asked: the requested range.
        stitched: the exported file.
        sources: segments that it was made from.
        created_us: UTC microseconds.
        created_by: who requested it, such as `key:3kd82hs9`.
        method: how the file was made of the sources.
    """
    return Manifest(
        id=id,
        tenant=tenant,
        camera=camera,
        asked=stretch(asked),
        covered=stretch(Span(stitched.from_us, stitched.to_us)),
        gaps=tuple(stretch(gap) for gap in stitched.gaps),
        file=ExportedFile(
            sha256=stitched.sha256,
            size=stitched.size,
            frames=stitched.frames,
            audio=stitched.audio,
        ),
        sources=tuple(source_of(segment) for segment in sources),
        created_at=moment_of(created_us),
        created_by=created_by,
        method=method,
    )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file. Raises InputError: it does not exist, or is not a manifest."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path} is not the manifest of an export: {where}: {first['msg']}.",
            hint="`atalaia recordings export` writes one beside the file.",
        ) from None


def verify(file: Path, manifest: Manifest) -> None:
    """Check that `file` is, byte for byte, the file that the manifest describes.

    Raises:
        ConflictError: it is not; the text says how it differs.
        InputError: it cannot be read.
    """
    try:
        size, sha256 = digest(file)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}.") from None
    if size != manifest.file.size:
        raise ConflictError(
            f"{file} has {size:,} bytes; the manifest describes {manifest.file.size:,}.",
            hint="It was truncated, or it is another file.",
        )
    if sha256 != manifest.file.sha256:
        raise ConflictError(
            f"{file} is not what was exported: its SHA-256 is {sha256}, and "
            f"the manifest says {manifest.file.sha256}.",
            hint="It was changed after the export, or it is another file.",
        )
