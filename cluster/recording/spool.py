"""Recorded files on this machine's disk, until the storage and the records have them.

    <spool>/<owner>/lock                                  held for as long as its process lives
    <spool>/<owner>/<tenant>/<camera>/<start_us>.mp4.part  being written
    <spool>/<owner>/<tenant>/<camera>/<start_us>.mp4       finished

The name is the capture time of the picture that is decoded first. Each process has a folder of its
own, so that no two take the same file. The folder of a process that died has a free lock: whoever
comes next takes it over, mends what was cut off, and sends it on its way.
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
from cluster.recording.boxes import cut_to_playable
from cluster.recording.probe import probe, segment_file
from cluster.recording.segment import SegmentFile
from pipelines.domain import CameraKey
from pipelines.errors import AtalaiaError, InputError, UnavailableError

log = get_logger("recording.spool")

PART = ".part"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Spooled:
    """A finished file that waits."""

    key: CameraKey
    file: SegmentFile


class Spool:
    """The folder of this process. Every method may block for a disk; any thread may call.

    Args:
        root: of the spools of all processes of this machine.
        max_bytes: of finished files that wait; beyond, the oldest goes.

    Attributes:
        lost: files that went, by camera: there were too many bytes, or nothing of them plays.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.lost: Counter[CameraKey] = Counter()
        self._root = root
        self._max_bytes = max_bytes
        self._waiting: dict[Path, Spooled] = {}
        self._lock = threading.Lock()
        self._own: Path | None = None
        self._handle: int | None = None

    @property
    def folder(self) -> Path:
        """Of this process; made when it is first needed. Raises UnavailableError."""
        with self._lock:
            if self._own is None:
                name = uuid.uuid4().hex
                hidden = self._root / f".{name}"
                try:
                    hidden.mkdir(parents=True, mode=0o700)
                    self._handle = _try_lock(hidden / LOCK)
                    # Under its name only when it is locked: nobody takes it for one that was left.
                    self._own = hidden.rename(self._root / name)
                except OSError as error:
                    raise _unusable(self._root, error) from error
            return self._own

    def folder_of(self, key: CameraKey) -> Path:
        """Where this camera's files are written. Raises UnavailableError."""
        folder = self.folder / key.tenant / key.camera
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unusable(folder, error) from error
        return folder

    def finish(self, key: CameraKey, done: SegmentFile) -> None:
        """Take a file that its recorder finished. Raises UnavailableError."""
        final = done.path.with_name(done.path.name.removesuffix(PART))
        try:
            done.path.rename(final)
            sync(final.parent)
        except OSError as error:
            raise _unusable(final, error) from error
        self._add(Spooled(key, replace(done, path=final)))

    def repair(self, key: CameraKey, path: Path) -> bool:
        """Take a file whose recorder is gone; False, and it goes, where nothing of it plays."""
        try:
            # One that was finished was synced before it got its name: it is whole.
            if path.name.endswith(PART) and not cut_to_playable(path):
                raise InputError(f"nothing of {path.name} plays.")
            found = probe(path)
            origin_us = _start_us(path) - found.first_us
            self.finish(key, segment_file(path, found, origin_us))
        except FileNotFoundError:
            return False
        except (AtalaiaError, OSError) as error:
            log.warning("a recording is lost", camera=key.room, file=path.name, reason=str(error))
            self.lost[key] += 1
            if isinstance(error, InputError):
                path.unlink(missing_ok=True)
            return False
        return True

    def waiting(self) -> list[Spooled]:
        """What waits, oldest first."""
        with self._lock:
            return sorted(self._waiting.values(), key=lambda spooled: spooled.file.start_us)

    def remove(self, spooled: Spooled) -> None:
        """Forget a file, and delete it."""
        with self._lock:
            self._waiting.pop(spooled.file.path, None)
        spooled.file.path.unlink(missing_ok=True)

    def adopt(self) -> int:
        """Take over what processes that ended have left; how many files."""
        taken = 0
        for left in self._left():
            try:
                handle = _try_lock(left / LOCK)
            except OSError:
                continue  # somebody else was quicker
            if handle is None:
                continue
            try:
                taken += self._take_over(left)
            except (OSError, UnavailableError) as error:
                log.warning("left recordings stay", folder=left.name, reason=str(error))
            finally:
                os.close(handle)
        return taken

    def close(self) -> None:
        """Give the folder back; what waits is for the next one. Idempotent."""
        with self._lock:
            handle, own = self._handle, self._own
            self._handle = None
        if handle is None or own is None:
            return
        if next(_files(own), None) is None:
            shutil.rmtree(own, ignore_errors=True)
        os.close(handle)

    # ------------------------------------------------------------ helpers

    def _left(self) -> list[Path]:
        """Folders of others; hidden ones are just being made, and hold nothing."""
        try:
            folders = [path for path in self._root.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("the spool cannot be listed", reason=error.strerror)
            return []
        return [path for path in folders if path != self._own and path.name[0] != "."]

    def _take_over(self, left: Path) -> int:
        taken = 0
        for key, path in _files(left):
            target = self.folder_of(key) / path.name
            path.rename(target)
            taken += self.repair(key, target)
        shutil.rmtree(left)
        return taken

    def _add(self, spooled: Spooled) -> None:
        with self._lock:
            self._waiting[spooled.file.path] = spooled
            too_many: list[Spooled] = []
            total = sum(waiting.file.size for waiting in self._waiting.values())
            for old in sorted(self._waiting.values(), key=lambda waiting: waiting.file.start_us):
                if total <= self._max_bytes:
                    break
                total -= old.file.size
                too_many.append(self._waiting.pop(old.file.path))
        for old in too_many:
            self.lost[old.key] += 1
            log.error("the spool is full: a recording is dropped", camera=old.key.room,
                      start_us=old.file.start_us, bytes=old.file.size)  # fmt: skip
            old.file.path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[tuple[CameraKey, Path]]:
    """The recordings in a process's folder, oldest first within a camera."""
    for path in sorted(folder.glob("*/*/*")):
        key = CameraKey.from_room(f"{path.parent.parent.name}.{path.parent.name}")
        stem = path.name.removesuffix(PART)
        if key is not None and stem.endswith(".mp4") and stem.removesuffix(".mp4").isdecimal():
            yield key, path


def _start_us(path: Path) -> int:
    return int(path.name.split(".", 1)[0])


def _try_lock(path: Path) -> int | None:
    """The open lock file, or None where another process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _unusable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"the recording spool cannot be used: {path.name}: {error.strerror}.",
        hint="See that the disk of data_dir is there and has room.",
    )
