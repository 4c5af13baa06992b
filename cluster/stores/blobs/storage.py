"""Opens storages by their fsspec URL, the same way wherever files are read or written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from cluster.core.redaction import redact, refuse_bucket_credentials

# What is read ahead of a remote video. The 50 MB that s3fs takes were the whole of most files.
BLOCK_BYTES = 4 << 20
# Files go up in parts of this size, two at a time. With s3fs' own numbers four files of 95 MB took
# 666 MB of memory; with these, 39.
PART_BYTES = 8 << 20
# Tries of the file system; each is up to twice that of botocore. Their defaults, five times five,
# took 3 to 13 s to report a closed port; these took 0.1 to 0.9 s.
_TRIES = 2
_CONNECT_S, _ANSWER_S = 5.0, 15.0

_S3: dict[str, Any] = {
    "use_listings_cache": False,
    "config_kwargs": {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _ANSWER_S,
        "retries": {"mode": "standard", "total_max_attempts": 2},
    },
}
# Its tries and waits are fixed, half a minute together; callers have time-outs of their own.
_GCS: dict[str, Any] = {"use_listings_cache": False}
_OPTIONS = {"s3": _S3, "s3a": _S3, "gs": _GCS, "gcs": _GCS}
_S3_PARTS: dict[str, Any] = {"chunksize": PART_BYTES, "max_concurrency": 2}
_GCS_PARTS: dict[str, Any] = {"chunksize": PART_BYTES}
_PARTS = {"s3": _S3_PARTS, "s3a": _S3_PARTS, "gs": _GCS_PARTS, "gcs": _GCS_PARTS}
_CODE = re.compile(r"[A-Za-z0-9]{1,60}")


@dataclass(frozen=True, slots=True)
class Storage:
    """An opened storage.

    Attributes:
        files: fsspec's file system.
        path: what the URL names in it.
        upload: options of `put_file`, so that it holds little of a file in memory.
    """

    files: Any
    path: str
    upload: dict[str, Any] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        return isinstance(self.files, LocalFileSystem)

    def url(self, path: str) -> str:
        """How others open a file of this storage: a path, or an fsspec URL."""
        return path if self.local else str(self.files.unstrip_protocol(path))


def open_storage(url: str) -> Storage:
    """The storage that a path or an fsspec URL names. Opens no connection yet.

    Raises:
        ValueError: there is no such kind of storage, its package is not installed, or the URL
            holds a credential; the text holds none.
    """
    refuse_bucket_credentials(url)
    protocol = get_protocol(url)
    options = _OPTIONS.get(protocol, {})
    try:
        files, path = url_to_fs(url, **options)
    except (ValueError, ImportError) as error:
        raise ValueError(redact(str(error))) from None
    if options is _S3:
        files.retries = _TRIES
    return Storage(files, path, _PARTS.get(protocol, {}))


def code_of(error: BaseException) -> str:
    """The code that an object storage gave its error, like `NoSuchBucket`; empty if it gave none.
    Google's, and answers without a body, have the number of HTTP."""
    answer = getattr(error.__cause__ or error, "response", None)
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    if code is None:
        code = getattr(error, "code", None)
    return str(code) if isinstance(code, str | int) and _CODE.fullmatch(str(code)) else ""


def reason_of(error: BaseException) -> str:
    """What of a storage's error may be shown. Texts of vendors may quote URLs, which may hold a
    credential, so only names, codes and the system's own words are."""
    name, code = type(error).__name__, code_of(error)
    if code:
        return f"{name} ({code})"
    words = error.strerror if isinstance(error, OSError) else None
    return f"{name}: {words}" if words else name
