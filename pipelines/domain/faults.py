"""What can be wrong with a camera that sends pictures, and the system's own alarms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PictureFault(StrEnum):
    """What is wrong with a picture. Of several the first in this list is said."""

    BLACK = "black"
    GLARE = "glare"
    """Blinded by light."""
    COVERED = "covered"
    FROZEN = "frozen"
    """The same picture all the time."""
    BLURRED = "blurred"
    MOVED = "moved"
    """It shows another scene than before."""

    @property
    def blinds(self) -> bool:
        """Whether nothing can be recognized: a moved camera sees, only something else."""
        return self is not PictureFault.MOVED


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and since when (capture time, UTC microseconds)."""

    kind: PictureFault
    since_us: int


SYSTEM_RULES = "system-"
"""How the rules of the system's own alarms begin (`system-black`); no tenant's rule may."""


STORAGE_CAMERA = "atalaia-storage"
"""Stands for a camera in alarms that concern all of a tenant's. No camera may have this id: it is
in no group, so that only those who may see all cameras see them."""


class SystemKind(StrEnum):
    """Why Atalaia itself raises an alarm about a camera, or about what it keeps."""

    BLIND = "blind"
    """It has not been analysed for longer than it may be."""
    BLACK = "black"
    GLARE = "glare"
    COVERED = "covered"
    FROZEN = "frozen"
    BLURRED = "blurred"
    MOVED = "moved"
    """As `PictureFault`."""
    RECORDING = "recording"
    """Frames or files of its recording are being lost, or files wait for too long."""
    EVIDENCE = "evidence"
    """Pictures of alarms cannot be stored."""
    FOOTAGE = "footage"
    """Recorded files are not where they should be. Nothing is removed meanwhile."""
    DISK = "disk"
    """The disk of the recordings is near its mark."""
    DISK_FULL = "disk-full"
    """It stays above it: there is nothing left that may be removed."""
