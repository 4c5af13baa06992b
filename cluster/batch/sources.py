"""What a job looks at: segments of the recorder, or video files of somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from cluster.batch.remote import BrokenVideoError, info_of
from cluster.batch.video import VideoFacts, probe
from cluster.core.redaction import redact
from cluster.stores.blobs.storage import open_storage, reason_of
from pipelines.domain import Frozen, Segment
from pipelines.errors import InputError, UnavailableError

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts")
_GLOB = frozenset("*?[")


class StartFrom(StrEnum):
    """Where the time of a source's first picture is known from."""

    RECORDING = "recording"
    """The recorder wrote it down: exact to the microsecond."""
    OPTION = "option"
    """Whoever started the job said it."""
    TAG = "tag"
    """The file's `creation_time`."""
    FILE = "file"
    """The file was last changed when it ended: minus its duration. A guess."""


class Source(Frozen):
    """One video.

    Attributes:
        url: path of a local file, else an fsspec URL.
        name: for people; holds no credential.
        zero_us: UTC microseconds of time 0 of the file: capture times are this plus the times in
            the file.
        start_us: capture time of the first picture.
        end_us: when it ends, as far as that can be told without reading all of it.
        identity: differs where the content differs, as far as can be told without reading it.
        start_from: where `start_us` is known from.
        whole: it cannot be split.
    """

    url: str
    name: str
    zero_us: int
    start_us: int
    end_us: int
    identity: str
    start_from: StartFrom
    whole: bool = False


class Rejected(Frozen):
    """A file that cannot be looked at, and why."""

    name: str
    reason: str


def of_segment(segment: Segment, url: str) -> Source:
    """A recorded segment whose file is at `url`."""
    return Source(
        url=url,
        name=segment.blob,
        zero_us=segment.origin_us,
        start_us=segment.start_us,
        end_us=segment.end_us,
        identity=segment.sha256,
        start_from=StartFrom.RECORDING,
    )


def find_files(pattern: str) -> list[str]:
    """The video files that a file, folder, glob or fsspec URL of any of them means, sorted.

    A file that is named is taken whatever it is called; of a folder or glob those that are called
    like videos.

    Raises:
        InputError: there is none, or the storage is unknown.
        UnavailableError: the storage does not answer.
    """
    try:
        storage = open_storage(pattern)
    except ValueError as error:
        raise InputError(f"{redact(pattern)} cannot be read: {error}.") from None
    files, path = storage.files, storage.path
    try:
        if _GLOB & set(path):
            found = _videos(files.glob(path))
        elif files.isdir(path):
            found = _videos(files.find(path))
        else:
            found = [path] if files.exists(path) else []
    except Exception as error:  # noqa: BLE001 - each storage raises its vendor's own errors
        reason = reason_of(error)
        raise UnavailableError(f"{redact(pattern)} cannot be listed: {reason}.") from None
    if not found:
        raise InputError(
            f"there is no video at {redact(pattern)}.",
            hint="Give a file, a folder, a glob, or an fsspec URL; known names end in "
            + ", ".join(SUFFIXES)
            + ".",
        )
    return [storage.url(path) for path in found]


def _videos(paths: Sequence[str]) -> list[str]:
    return sorted(p for p in paths if PurePosixPath(p).suffix.lower() in SUFFIXES)


def of_files(
    urls: Sequence[str], start_us: int | None = None
) -> tuple[list[Source], list[Rejected]]:
    """Sources in the order of their time, and the files that are none.

    Args:
        urls: from `find_files`.
        start_us: when the first file starts, UTC microseconds; the others then follow one another
            in the given order. None: each file says it itself, see `StartFrom`.
    """
    sources: list[Source] = []
    rejected: list[Rejected] = []
    for url in urls:
        name = redact(PurePosixPath(url).name)
        try:
            source = _of_file(url, name, probe(url), start_us)
        except BrokenVideoError as error:
            rejected.append(Rejected(name=name, reason=error.message))
            continue
        sources.append(source)
        if start_us is not None:
            start_us = source.end_us
    return sorted(sources, key=lambda s: (s.start_us, s.url)), rejected


def _of_file(url: str, name: str, facts: VideoFacts, start_us: int | None) -> Source:
    info = info_of(url)
    changed_us = _changed_us(info)
    if start_us is not None:
        start_from = StartFrom.OPTION
    elif facts.created_us is not None:
        start_us, start_from = facts.created_us, StartFrom.TAG
    elif changed_us is not None:
        start_us, start_from = changed_us - facts.duration_us, StartFrom.FILE
    else:
        raise BrokenVideoError("nothing says when it was recorded.", hint="Say it with --start.")
    return Source(
        url=url,
        name=name,
        zero_us=start_us - facts.first_us,
        start_us=start_us,
        end_us=start_us + facts.duration_us,
        identity=f"{url} {info.get('size')} {info.get('ETag') or changed_us}",
        start_from=start_from,
        whole=facts.whole,
    )


def _changed_us(info: dict[str, Any]) -> int | None:
    """When the file was last changed, UTC microseconds; every storage has its own word for it."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return round(value.astimezone(UTC).timestamp() * 1e6)
        if isinstance(value, int | float):
            return round(value * 1e6)
    return None
