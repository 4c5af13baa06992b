"""Video files in place: a path for libav, or an object that libav reads by ranges."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, TypeVar

from cluster.core.redaction import redact
from cluster.stores.blobs.storage import BLOCK_BYTES, open_storage, reason_of
from pipelines.errors import AtalaiaError, InputError, UnavailableError

_T = TypeVar("_T")


class BrokenVideoError(InputError):
    """A video that is missing, damaged, or not a video."""

    code = "broken-video"


class RemoteFile:
    """File interface for libav over an object in storage.

    libav takes a read error for the end of the file or for damage, and tries again. The table of a
    truncated read would then be stored as complete. So the first failure is kept and ends reading.
    """

    def __init__(self, file: Any, name: str) -> None:
        self.name = name
        self.failure: AtalaiaError | None = None
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none after a failure.

        Raises:
            BrokenVideoError: the file no longer exists.
            UnavailableError: the storage does not answer.
        """
        if self.failure is not None:
            return b""
        try:
            data: bytes = _translated(self.name, lambda: self._file.read(size))
        except AtalaiaError as error:
            self.failure = error
            raise
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, in bytes; returns the new one."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The position, in bytes."""
        return int(self._file.tell())

    def seekable(self) -> bool:
        """Always true."""
        return True


@contextmanager
def open_file(url: str) -> Iterator[str | RemoteFile]:
    """The argument of `av.open` for a path or an fsspec URL.

    Raises:
        BrokenVideoError: the file does not exist.
        UnavailableError: the storage does not answer. Also raised at the end of the block, instead
            of any error that followed from it.
    """
    storage = open_storage(url)
    if storage.local:
        yield storage.path
        return
    name = shown_name(url)
    opened = _translated(
        name, lambda: storage.files.open(storage.path, "rb", block_size=BLOCK_BYTES)
    )
    with opened as content:
        file = RemoteFile(content, name)
        try:
            yield file
        finally:
            if file.failure is not None:
                raise file.failure


def info_of(url: str) -> dict[str, Any]:
    """The storage's metadata of a file.

    Raises:
        BrokenVideoError: the file no longer exists.
        UnavailableError: the storage does not answer.
    """
    storage = open_storage(url)
    info: dict[str, Any] = _translated(shown_name(url), lambda: storage.files.info(storage.path))
    return info


def shown_name(url: str) -> str:
    """The file's name for people. The whole URL is redacted, not its last part: a password may
    contain slashes."""
    return PurePosixPath(redact(url)).name


def _translated(name: str, call: Callable[[], _T]) -> _T:
    """The result of a storage call, with errors as ours."""
    try:
        return call()
    except FileNotFoundError:
        raise BrokenVideoError("the file no longer exists.") from None
    except Exception as error:  # noqa: BLE001 - each storage raises its vendor's own errors
        raise UnavailableError(
            f"{name} cannot be read from its storage: {reason_of(error)}.",
            hint="Start the job again: it reuses finished chunks.",
        ) from None
