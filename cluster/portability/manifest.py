"""The manifest of an exported tenant, and the check of a folder against it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from cluster.core.files import digest
from pipelines.domain import Frozen
from pipelines.errors import ConflictError, InputError

MANIFEST, MEDIA_LIST, MEDIA = "manifest.json", "media.jsonl", "media"


# No "..", and no hidden file: a list from elsewhere names nothing outside of its folder.
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"


class ListedFile(Frozen):
    """A file of JSON Lines.

    Attributes:
        lines: how many rows, or files, it names.
    """

    name: str
    lines: int
    size: int
    sha256: str


class MediaFile(Frozen):
    """One line of `media.jsonl`.

    Attributes:
        key: in the tenant's storage, and its place below `media/`.
        version: names the content in the storage, so that a later run knows what changed.
    """

    key: Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*$")]
    size: int
    version: str
    sha256: str


_NEVER_IN_IT = (
    "embeddings: numbers of one model, which it computes again from the pictures",
    "addresses and passwords of cameras, hashes of passwords and keys, sessions",
)


class TenantManifest(Frozen):
    """What an export holds. `left_out`: what it does not, and why."""

    format: Literal["atalaia-tenant-export-1"] = "atalaia-tenant-export-1"
    tenant: str
    begun_at: str
    ended_at: str
    rows: tuple[ListedFile, ...]
    media: ListedFile
    media_bytes: int
    left_out: tuple[str, ...] = _NEVER_IN_IT


def left_out(misnamed: int) -> tuple[str, ...]:
    """What an export does not hold.

    Args:
        misnamed: files and folders in the storage whose names are none of this application's.
    """
    if not misnamed:
        return _NEVER_IN_IT
    return (*_NEVER_IN_IT, f"{misnamed} files or folders that somebody else put into the storage")


def read_media(path: Path) -> Iterator[MediaFile]:
    """The lines of a list of media. Blocking. A last line that a crash tore is left out.

    Raises:
        InputError: a line describes no file.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield MediaFile.model_validate_json(line)
            except ValidationError:
                if not line.endswith("\n"):
                    return
                raise InputError(f"line {number} of {path} describes no file.") from None


def verify(folder: Path, on_file: Callable[[int], None] = lambda _: None) -> TenantManifest:
    """Check every file of an export. Blocking.

    Args:
        on_file: called with the bytes of each file of media.

    Raises:
        InputError: there is no export, or a file cannot be read.
        ConflictError: a file is missing, or is not what was exported.
    """
    try:
        manifest = TenantManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        raise InputError(
            f"{folder} has no manifest of an exported tenant.",
            hint="`atalaia tenant export` writes it at its end; run it again to go on.",
        ) from None
    for listed in (*manifest.rows, manifest.media):
        _check(folder / listed.name, listed.size, listed.sha256)
    for media in read_media(folder / MEDIA_LIST):
        _check(folder / MEDIA / media.key, media.size, media.sha256)
        on_file(media.size)
    return manifest


def _check(path: Path, size: int, sha256: str) -> None:
    try:
        found = digest(path)
    except FileNotFoundError:
        raise ConflictError(f"{path} is missing.", hint="Export again: it goes on.") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from None
    if found != (size, sha256):
        raise ConflictError(f"{path} is not what was exported.", hint="Use another copy.")


def line_of(row: object) -> bytes:
    """One row as a line of JSON."""
    # What somebody wrote past the application into a row may be of any type.
    return json.dumps(row, separators=(",", ":"), default=str).encode("ascii") + b"\n"
