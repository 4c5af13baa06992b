"""The videos of a job: segments of the recorder, or other video files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from cluster.batch.remote import BrokenVideoError, info_of, shown_name
from cluster.batch.video import VideoFacts, probe
from cluster.core.redaction import redact
from cluster.stores.blobs.storage import open_storage, reason_of
from pipelines.domain import Frozen, Segment
from pipelines.errors import InputError, UnavailableError

# Containers that libav demuxes with times and key frames. A named file may have any suffix.
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts")
_GLOB = frozenset("*?[")


class StartFrom(StrEnum):
    """Origin of the capture time of a source's first frame."""

    RECORDING = "recording"
    """From the recorder: exact to the microsecond."""
    OPTION = "option"
    """From the caller that started the job."""
    TAG = "tag"
    """From the file's `creation_time` tag."""
    FILE = "file"
    """Estimated: the file's modification time minus its duration."""


class Source(Frozen):
    """One video.

    Attributes:
        url: path of a local file, else an fsspec URL.
        name: for display; holds no credentials.
        zero_us: UTC microseconds of time 0 of the file. Capture time is this plus the time in the
            file.
        start_us: capture time of the first frame, UTC microseconds.
        end_us: end of the video, as far as known without reading all of it, UTC microseconds.
        identity: differs where the content differs, as far as known without reading it.
        start_from: origin of `start_us`.
        whole: whether it must be read in one piece.
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
    """A file that cannot be processed, and why."""

    name: str
    reason: str


def of_segment(segment: Segment, url: str) -> Source:
    """The source for a recorded segment whose file is at `url`."""
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
    """The video files that a path, folder, glob or fsspec URL refers to, sorted.

    A file that is named may have any suffix. In a folder or glob only those in `SUFFIXES` count.

    Raises:
        InputError: there is no such file, or the storage is unknown.
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
            hint="Name a file, a folder, a glob, or an fsspec URL; known suffixes: "
            + ", ".join(SUFFIXES)
            + ".",
        )
    return [storage.url(path) for path in found]


def _videos(paths: Sequence[str]) -> list[str]:
    return sorted(p for p in paths if PurePosixPath(p).suffix.lower() in SUFFIXES)


def of_files(
    urls: Sequence[str], start_us: int | None = None
) -> tuple[list[Source], list[Rejected]]:
    """Sources in time order, and the files that cannot be processed.

    Args:
        urls: from `find_files`.
        start_us: when the first file starts, UTC microseconds; the others follow one after another
            in the given order. None: each file has its own start, see `StartFrom`.

    Raises:
        UnavailableError: the storage does not answer.
    """
    sources: list[Source] = []
    rejected: list[Rejected] = []
    for url in urls:
        name = shown_name(url)
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
        raise BrokenVideoError("its start time is unknown.", hint="Set it with --start.")
    # Tables of before such frames were turned were made from what lies on its side.
    turned = " turned" if facts.turned else ""
    return Source(
        url=url,
        name=name,
        zero_us=start_us - facts.first_us,
        start_us=start_us,
        end_us=start_us + facts.duration_us,
        identity=f"{url} {info.get('size')} {info.get('ETag') or changed_us}{turned}",
        start_from=start_from,
        whole=facts.whole,
    )


def _changed_us(info: dict[str, Any]) -> int | None:
    """Modification time, UTC microseconds. The key differs between storages."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return round(value.astimezone(UTC).timestamp() * 1e6)
        if isinstance(value, int | float):
            return round(value * 1e6)
    return None
