"""Exports of networks for a runtime, made once per machine and kept by what they were made from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True)
class ExportKey:
    """All that decides what an export holds; one difference is another export.

    Attributes:
        weights_sha256: of the weights file.
        runtime: who runs it, e.g. `openvino`.
        precision: what is baked into the file.
        input_size: width, height in input pixels.
        max_batch: most frames of one call.
        versions: of the libraries that convert it, and of the GPU where the file is bound to one.
    """

    weights_sha256: str
    runtime: str
    precision: str
    input_size: tuple[int, int]
    max_batch: int
    versions: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


class ExportCache:
    """A folder of finished exports. Safe between processes: one builds, the others wait for it."""

    def __init__(self, root: Path) -> None:
        self._root = root / "exports"

    def get(self, key: ExportKey, build: Callable[[Path], None]) -> Path:
        """The folder of the export, after `build(folder)` filled it where it was missing.

        A build that raises, or a process that dies, leaves nothing that looks finished.
        """
        folder = self._root / key.digest
        if folder.is_dir():
            return folder
        with self._locked(key):
            if folder.is_dir():
                return folder
            with tempfile.TemporaryDirectory(
                dir=self._root, prefix=".build-", ignore_cleanup_errors=True
            ) as scratch:
                fresh = Path(scratch) / "export"
                fresh.mkdir()
                build(fresh)
                (fresh / "key.json").write_text(json.dumps(asdict(key), indent=2, sort_keys=True))
                fresh.replace(folder)
        return folder

    def load(
        self,
        key: ExportKey,
        build: Callable[[Path], None],
        read: Callable[[Path], Loaded],
        unreadable: tuple[type[Exception], ...],
    ) -> Loaded:
        """What `read` makes of the export. One for which it raises `unreadable` is built anew,
        once: after a disk that filled up, say. What it was made from is at hand."""
        try:
            return read(self.get(key, build))
        except unreadable:
            self.drop(key)
            return read(self.get(key, build))

    def drop(self, key: ExportKey) -> None:
        """Forget an export that turned out to be unreadable."""
        with self._locked(key):
            shutil.rmtree(self._root / key.digest, ignore_errors=True)

    @contextmanager
    def _locked(self, key: ExportKey) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / f".{key.digest}.lock").open("w") as lock:
            # Released with the process, so one that is killed blocks no other.
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
