"""Video files where they lie: a path for libav, or an object that is read range by range."""

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
    code = "broken-video"


class RemoteFile:
    """What libav needs of a file, over an object of a storage.

    libav takes an error of its input for the end of the file, or for a broken one, and asks again.
    A table of what was seen until then would be kept as the whole, so a storage that fails is
    remembered here, and asked no more.
    """

    def __init__(self, file: Any, name: str) -> None:
        self.name = name
        self.trouble: AtalaiaError | None = None
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none after a failure. Raises BrokenVideoError (it is gone),
        UnavailableError."""
        if self.trouble is not None:
            return b""
        try:
            data: bytes = _told(self.name, lambda: self._file.read(size))
        except AtalaiaError as error:
            self.trouble = error
            raise
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def seekable(self) -> bool:
        return True


@contextmanager
def open_file(url: str) -> Iterator[str | RemoteFile]:
    """What `av.open` takes for a path or an fsspec URL.

    Raises:
        BrokenVideoError: it is not there.
        UnavailableError: its storage does not answer; also at the end of the block, in place of
            whatever that led to.
    """
    storage = open_storage(url)
    if storage.local:
        yield storage.path
        return
    name = _name(url)
    opened = _told(name, lambda: storage.files.open(storage.path, "rb", block_size=BLOCK_BYTES))
    with opened as content:
        file = RemoteFile(content, name)
        try:
            yield file
        finally:
            if file.trouble is not None:
                raise file.trouble


def info_of(url: str) -> dict[str, Any]:
    """What the storage says of a file. Raises BrokenVideoError (it is gone), UnavailableError."""
    storage = open_storage(url)
    info: dict[str, Any] = _told(_name(url), lambda: storage.files.info(storage.path))
    return info


def _name(url: str) -> str:
    return redact(PurePosixPath(url).name)


def _told(name: str, call: Callable[[], _T]) -> _T:
    try:
        return call()
    except FileNotFoundError:
        raise BrokenVideoError("it is not there any more.") from None
    except Exception as error:  # noqa: BLE001 - each storage raises its vendor's own errors
        raise UnavailableError(
            f"{name} cannot be read from its storage: {reason_of(error)}.",
            hint="Start the job again: what was done is not done again.",
        ) from None
