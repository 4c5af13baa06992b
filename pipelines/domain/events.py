"""What comes of looking: alarms, objects, paths, recordings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.domain.base import Frozen, Micros, Slug, UnitFloat
from pipelines.domain.rules import RuleKind


class AlarmSource(StrEnum):
    LIVE = "live"
    BATCH = "batch"


class Stages(Frozen):
    """When an alarm's frame passed each stage, UTC microseconds; 0 where there is no such stage."""

    capture_us: int
    received_us: int = 0
    queued_us: int = 0
    detected_us: int = 0
    ruled_us: int = 0
    published_us: int = 0


class Alarm(Frozen):
    """A rule that fired. `id` is a function of what happened: saying it twice changes nothing."""

    version: Literal[1] = 1
    id: UUID
    tenant: Slug
    camera: Slug
    rule: Slug
    kind: RuleKind
    label: str
    confidence: UnitFloat
    box: tuple[UnitFloat, UnitFloat, UnitFloat, UnitFloat]
    """x1, y1, x2, y2, normalized."""
    track: str
    episode: int
    frame_id: int
    stages: Stages
    source: AlarmSource = AlarmSource.LIVE
    snapshot: str | None = None
    """Key of the JPEG of this moment in the tenant's blob storage."""

    @property
    def capture_us(self) -> int:
        return self.stages.capture_us


class Sighting(Frozen):
    """One object that was seen: what the tenant's memory holds beside its vector."""

    version: Literal[1] = 1
    tenant: Slug
    camera: Slug
    track: str
    label: str
    confidence: UnitFloat
    first_seen_us: int
    last_seen_us: int
    box: tuple[UnitFloat, UnitFloat, UnitFloat, UnitFloat]
    colour: str | None = None
    """One of `pipelines.colour.COLOURS`; None where nobody looked, or could tell."""
    snapshot: str | None = None


class SightingFilter(Frozen):
    """Which sightings; what is None does not matter.

    Attributes:
        camera: of this camera.
        label: of this class.
        colour: of this colour, by its name.
        since_us: in sight at or after, UTC microseconds.
        until_us: in sight before, UTC microseconds.
    """

    camera: Slug | None = None
    label: str | None = None
    colour: str | None = None
    since_us: Micros | None = None
    until_us: Micros | None = None


EVERY_SIGHTING = SightingFilter()

PathPoint = tuple[int, int, int, int, int]
"""Milliseconds after the path's start; then x1, y1, x2, y2 in 1/10000 of the picture."""
PATH_SCALE = 10_000


class TrackPath(Frozen):
    """Where one track was during a part of its life: at most some seconds of it, so that a track
    which never ends is told of while it lasts. Said twice, it changes nothing.

    `start_us` names it, in whole milliseconds; `end_us` is the capture time of its last point.
    """

    version: Literal[1] = 1
    tenant: Slug
    camera: Slug
    track: str
    label: str
    confidence: UnitFloat
    """The highest of these points."""
    start_us: int
    end_us: int
    points: Annotated[tuple[PathPoint, ...], Field(min_length=1, max_length=1_000)]
    source: AlarmSource = AlarmSource.LIVE


class Segment(Frozen):
    """A file of a recording, as the records know it.

    Attributes:
        start_us: capture time of its first picture.
        end_us: when its last picture ends.
        origin_us: time 0 of the file: capture times are this plus the times in the file.
        codec: of the video as libav names it; width and height in source pixels.
        audio: codec of the sound in the file, None where there is none.
        size: bytes.
        sha256: of the whole file, hexadecimal.
        blob: key of the file in the tenant's blob storage.
        masked: whether privacy masks are painted into the pictures.
        note: what people should know of it, like sound that was left out; empty where all is plain.
    """

    camera: Slug
    start_us: int
    end_us: int
    origin_us: int
    codec: str
    width: int
    height: int
    frames: int
    audio: str | None = None
    size: int
    sha256: str
    blob: str
    masked: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Crop:
    """The picture of one object at its best moment, and what is known of it.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, source resolution.
        sighting: what to remember with it.
    """

    pixels: npt.NDArray[np.uint8]
    sighting: Sighting
