"""Recorded files on the local disk that wait to be uploaded and entered in the database.

    <root>/<owner>/lock                                   held while the owning process lives
    <root>/<owner>/<tenant>/<camera>/<start_us>.mp4.part  being written
    <root>/<owner>/<tenant>/<camera>/<start_us>.mp4       finished

The file name is the capture time of the frame that is decoded first. Each process has its own
folder, so that no file has two owners. The lock of a dead process is free: the next process adopts
its folder, repairs truncated files and ships all of them. Settings call this the spool.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.core.files import sync
from cluster.core.log import get_logger
from cluster.recording.mp4_boxes import truncate_to_playable
from cluster.recording.probe import probe, segment_file
from cluster.recording.segment import SegmentFile
from pipelines.domain import CameraKey
from pipelines.errors import AtalaiaError, InputError, UnavailableError

log = get_logger("recording.spool")

PART = ".part"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class PendingSegment:
    """A finished file that waits for its upload."""

    key: CameraKey
    file: SegmentFile


class SegmentOutbox:
    """The outbox folder of this process. Thread-safe. Every method may block on the disk.

    Args:
        root: parent folder of the outboxes of all processes on this machine.
        max_bytes: limit for finished files. Beyond it the oldest is deleted.

    Attributes:
        lost: deleted files per camera: over the limit, or not playable.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.lost: Counter[CameraKey] = Counter()
        self._root = root
        self._max_bytes = max_bytes
        self._waiting: dict[Path, PendingSegment] = {}
        self._lock = threading.Lock()
        self._own: Path | None = None
        self._handle: int | None = None

    @property
    def folder(self) -> Path:
        """This process's folder, created on first use. Raises UnavailableError."""
        with self._lock:
            if self._own is None:
                name = uuid.uuid4().hex
                hidden = self._root / f".{name}"
                try:
                    hidden.mkdir(parents=True, mode=0o700)
                    self._handle = _try_lock(hidden / LOCK)
                    # Renamed once it is locked, so that no other process adopts it.
                    self._own = hidden.rename(self._root / name)
                except OSError as error:
                    raise _unusable(self._root, error) from error
            return self._own

    def folder_of(self, key: CameraKey) -> Path:
        """The folder for a camera's files. Raises UnavailableError."""
        folder = self.folder / key.tenant / key.camera
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unusable(folder, error) from error
        return folder

    def finish(self, key: CameraKey, done: SegmentFile) -> None:
        """Add a file that its recorder finished. Raises UnavailableError."""
        final = _free(done.path.with_name(done.path.name.removesuffix(PART)), done.path)
        try:
            done.path.rename(final)
            sync(final.parent)
        except OSError as error:
            raise _unusable(final, error) from error
        self._add(PendingSegment(key, replace(done, path=final)))

    def repair(self, key: CameraKey, path: Path) -> bool:
        """Repair and add a file whose recorder is gone; False if that failed.

        An unplayable file is deleted. Failures are logged and counted.
        """
        try:
            # A finished file was synced before it was renamed, so it is complete.
            if path.name.endswith(PART) and not truncate_to_playable(path):
                raise InputError(f"nothing in {path.name} can be played.")
            found = probe(path)
            origin_us = _start_us(path) - found.first_us
            self.finish(key, segment_file(path, found, origin_us))
        except FileNotFoundError:
            return False
        except (AtalaiaError, OSError) as error:
            log.warning("recording lost", camera=key.room, file=path.name, reason=str(error))
            self.lost[key] += 1
            if isinstance(error, InputError):
                path.unlink(missing_ok=True)
            return False
        return True

    def waiting(self) -> list[PendingSegment]:
        """Waiting files, oldest first."""
        with self._lock:
            return sorted(self._waiting.values(), key=lambda pending: pending.file.start_us)

    def remove(self, pending: PendingSegment) -> None:
        """Delete a file and forget it. Raises OSError."""
        with self._lock:
            self._waiting.pop(pending.file.path, None)
        pending.file.path.unlink(missing_ok=True)

    def adopt(self) -> int:
        """Adopt the files of dead processes; returns how many. Problems are logged."""
        adopted = 0
        for abandoned in self._others():
            try:
                handle = _try_lock(abandoned / LOCK)
            except OSError:
                continue  # another process was faster
            if handle is None:
                continue
            try:
                adopted += self._take_over(abandoned)
            except (OSError, UnavailableError) as error:
                log.warning(
                    "abandoned recordings not adopted", folder=abandoned.name, reason=str(error)
                )
            finally:
                os.close(handle)
        return adopted

    def close(self) -> None:
        """Release the folder. The next process adopts files that still wait. Idempotent."""
        with self._lock:
            handle, own = self._handle, self._own
            self._handle = None
        if handle is None or own is None:
            return
        if next(_files(own), None) is None:
            shutil.rmtree(own, ignore_errors=True)
        os.close(handle)

    # ------------------------------------------------------------ helpers

    def _others(self) -> list[Path]:
        """Folders of other processes. Hidden ones are just being created and still empty."""
        try:
            folders = [path for path in self._root.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("the outbox cannot be listed", reason=error.strerror)
            return []
        return [path for path in folders if path != self._own and path.name[0] != "."]

    def _take_over(self, abandoned: Path) -> int:
        adopted = 0
        for key, path in _files(abandoned):
            target = _free(self.folder_of(key) / path.name, path)
            path.rename(target)
            adopted += self.repair(key, target)
        shutil.rmtree(abandoned)
        return adopted

    def _add(self, pending: PendingSegment) -> None:
        with self._lock:
            self._waiting[pending.file.path] = pending
            too_many: list[PendingSegment] = []
            total = sum(waiting.file.size for waiting in self._waiting.values())
            for old in sorted(self._waiting.values(), key=lambda waiting: waiting.file.start_us):
                if total <= self._max_bytes:
                    break
                total -= old.file.size
                too_many.append(self._waiting.pop(old.file.path))
        for old in too_many:
            self.lost[old.key] += 1
            log.error("outbox full: recording deleted", camera=old.key.room,
                      start_us=old.file.start_us, bytes=old.file.size)  # fmt: skip
            old.file.path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[tuple[CameraKey, Path]]:
    """The recordings in a process's folder, oldest first per camera."""
    for path in sorted(folder.glob("*/*/*")):
        key = CameraKey.from_room(f"{path.parent.parent.name}.{path.parent.name}")
        stem = path.name.removesuffix(PART)
        if key is not None and stem.endswith(".mp4") and stem.removesuffix(".mp4").isdecimal():
            yield key, path


def _start_us(path: Path) -> int:
    return int(path.name.split(".", 1)[0])


def _free(path: Path, source: Path) -> Path:
    """A name for `source` that replaces no other file: `path`, or microseconds later, where a clock
    that was set back gave two files the same time."""
    start_us, suffix = path.name.split(".", 1)
    while path != source and path.exists():
        start_us = str(int(start_us) + 1)
        path = path.with_name(f"{start_us}.{suffix}")
    return path


def _try_lock(path: Path) -> int | None:
    """The open lock file; None if another process holds it. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _unusable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"the recording outbox cannot be used: {path.name}: {error.strerror}.",
        hint="Check that the disk of data_dir is mounted and has free space.",
    )
