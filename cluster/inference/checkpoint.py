"""Read a detector from an untrusted `.pt` file.

A `.pt` file is a pickle, and a pickle can run any code. Ours never does: `torch.load` with
`weights_only=True` rebuilds tensors, plain containers, and the network classes on ultralytics'
allow-list; anything else in the file is refused before it is touched. So what is trusted is the
installed ultralytics and torch, not the file.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.inference.weights import Weights
from pipelines.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DetectorNetwork:
    """A detection network in float32, fused, in evaluation mode.

    Attributes:
        read: gives the module; called once, when it is first needed.
        labels: class names; the index is the class number.
        end_to_end: whether the output needs no suppression.
    """

    read: Callable[[], nn.Module]
    labels: tuple[str, ...]
    end_to_end: bool

    @cached_property
    def module(self) -> nn.Module:
        """Takes float32 (n, 3, h, w) in 0..1; gives (n, 4 + classes, anchors), or (n, rows, 6)
        where `end_to_end`. Raises ModelError where the file changed meanwhile."""
        return self.read()


def load_network(weights: Weights) -> DetectorNetwork:
    """Rebuild the detector in `weights`.

    Raises:
        ModelError: not a model, cut off, holds more than a model, or no detector.
    """
    _require_intact(weights)
    module = _read_module(weights)
    _require_detector(module, weights)
    labels = _labels(module, int(module.model[-1].nc), weights)
    try:
        module = _prepared(module)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{weights.name} holds a damaged network: {error}") from error
    _require_finite(module, weights)
    end_to_end = bool(getattr(module.model[-1], "end2end", False))
    return DetectorNetwork(lambda: module, labels, end_to_end)


def _require_intact(weights: Weights) -> None:
    # torch does not check the checksums in its own files: with one flipped byte it would load a
    # network that sees other things.
    if not zipfile.is_zipfile(weights.path):
        return  # cut off or another format, which `_read_module` says better
    try:
        with zipfile.ZipFile(weights.path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise ModelError(f"{weights.name} cannot be read: {error}.") from error
    if damaged is not None:
        raise ModelError(
            f"{weights.name} cannot be read: the checksum of {damaged} is wrong.",
            hint="Copy or download it again.",
        )


def _read_module(weights: Weights) -> Any:
    from torch import nn
    from ultralytics.nn.tasks import torch_safe_load

    try:
        with tempfile.TemporaryDirectory() as folder:
            # Under a plain name, because ultralytics reads meaning into names: for a path that ends
            # in yolov5n.pt it would fetch another file from its hub.
            plain = Path(folder) / "model.pt"
            plain.symlink_to(weights.path)
            content, _ = torch_safe_load(  # type: ignore[no-untyped-call]
                str(plain), safe_only=True
            )
    # The bytes decide what goes wrong in the unpickler (four types of error in 60 trials with one
    # changed byte), and each of them means the same: this file is no model.
    except Exception as error:
        raise ModelError(
            f"{weights.name} cannot be read as an ultralytics model: {_first_line(error)}",
            hint="It is cut off, of another format, or holds code. Download or export it again.",
        ) from error
    module = content.get("ema") or content.get("model") if isinstance(content, dict) else None
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{weights.name} holds no network.",
            hint="Save it with ultralytics (model.save), not as bare weights.",
        )
    return module


def _first_line(error: Exception) -> str:
    # ultralytics writes a headline with a sign and a colour before its messages.
    line = next((part for part in str(error).splitlines() if part.strip()), type(error).__name__)
    # From the first slash of a word, tried once for each word.
    line = re.sub(r"(?<!\S)([^\s/]*+)/\S*/model\.pt", r"\1the file", line.replace("ERROR ❌️", ""))
    return line.strip()[:300]


def _require_detector(module: Any, weights: Weights) -> None:
    from ultralytics.nn.modules.head import Detect, v10Detect
    from ultralytics.nn.tasks import DetectionModel, guess_model_task

    layers = getattr(module, "model", None)
    if not isinstance(module, DetectionModel) or layers is None or len(layers) == 0:
        raise ModelError(f"{weights.name} holds a {type(module).__name__}, not a YOLO detector.")
    task = guess_model_task(module)  # type: ignore[no-untyped-call]
    # Segmentation, pose, oriented boxes and open vocabulary subclass Detect, but put out or take in
    # other things.
    if type(layers[-1]) not in (Detect, v10Detect):
        raise ModelError(
            f"{weights.name} is a model for the task {task!r} with the head "
            f"{type(layers[-1]).__name__}; a plain detector is needed.",
            hint="Use detection weights, such as yolov8n.pt.",
        )


def _labels(module: Any, classes: int, weights: Weights) -> tuple[str, ...]:
    names = getattr(module, "names", None)
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(classes)):
        raise ModelError(f"{weights.name} does not name its {classes} classes.")
    return tuple(str(names[index]) for index in range(classes))


def _require_finite(module: nn.Module, weights: Weights) -> None:
    # A network with NaN inside runs without complaint and never sees anything again.
    if not all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values()):
        raise ModelError(
            f"{weights.name} holds numbers that are not finite.", hint="Its training diverged."
        )


def _prepared(module: Any) -> Any:
    import torch
    from ultralytics.nn.modules.head import Detect

    module = module.float().fuse(verbose=False).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.Upsample) and not hasattr(part, "recompute_scale_factor"):
            part.recompute_scale_factor = None  # checkpoints older than torch 1.11
        if isinstance(part, Detect):
            # One tensor out instead of a tuple with the training outputs.
            part.export, part.dynamic = True, False
    return module.requires_grad_(False)
