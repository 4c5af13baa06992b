"""Results of the analysis: alarms, objects and paths; and recorded segments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.domain.base import Frozen, Micros, Slug, UnitFloat
from pipelines.domain.faults import SystemKind
from pipelines.domain.rules import RuleKind

MASK_DELAY_US = 5_000_000
"""What is from so soon after a change of masks may be without them: a bridge hears of it within two
seconds, and frames that it had by then are on their way."""


class AlarmSource(StrEnum):
    LIVE = "live"
    BATCH = "batch"


class Stages(Frozen):
    """When an alarm's frame passed each stage, UTC microseconds; 0 if it skipped the stage."""

    capture_us: int
    received_us: int = 0
    queued_us: int = 0
    detected_us: int = 0
    ruled_us: int = 0
    published_us: int = 0

    def spent_ms(self) -> dict[str, float]:
        """Milliseconds that each stage took since the last one before it that was passed: `receive`
        (camera to watcher), `queue` (to the detector), `detect`, `rule`, `publish` (to the alarm
        stream), and all of them as `total`. Stages that were skipped are left out."""
        steps = {
            "receive": self.received_us,
            "queue": self.queued_us,
            "detect": self.detected_us,
            "rule": self.ruled_us,
            "publish": self.published_us,
        }
        spent: dict[str, float] = {}
        before = self.capture_us
        for name, at in steps.items():
            if at:
                spent[name] = (at - before) / 1_000
                before = at
        if spent:
            spent["total"] = (before - self.capture_us) / 1_000
        return spent


class Alarm(Frozen):
    """A rule that fired, or what Atalaia itself says of a camera (`SystemKind`). `id` is derived
    from the event itself, so delivery is idempotent."""

    version: Literal[1] = 1
    id: UUID
    tenant: Slug
    camera: Slug
    rule: Slug
    kind: RuleKind | SystemKind
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
    """One object that was seen: stored in the tenant's memory with its embedding."""

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
    """One of `pipelines.colour.COLOURS`; None if unknown."""
    snapshot: str | None = None


class SightingFilter(Frozen):
    """Filter for sightings; None matches everything.

    Attributes:
        camera: id of the camera.
        label: class name.
        colour: name of the colour.
        since_us: in sight at or after this time, UTC microseconds.
        until_us: in sight before this time, UTC microseconds.
    """

    camera: Slug | None = None
    label: str | None = None
    colour: str | None = None
    since_us: Micros | None = None
    until_us: Micros | None = None


EVERY_SIGHTING = SightingFilter()

PathPoint = tuple[int, int, int, int, int]
"""Milliseconds after the path's start; then x1, y1, x2, y2 in 1/10000 of the frame."""
PATH_SCALE = 10_000
"""Units per frame width and height in a PathPoint."""
PATH_CELL_US = 5_000_000
"""Capture time is divided into cells of this length, counted from 1970. A track's boxes in one cell
form one path, identified by the start of the cell. Live and batch, which may analyse different
frames, thus produce the same path ids, and a repeated path replaces the earlier one. 5 s at 5
frames per second is some 700 bytes of JSON, and is what a killed process loses."""


class TrackPath(Frozen):
    """A piece of one track's trajectory, a few seconds long, so that long tracks are reported while
    they last. Delivery is idempotent.

    `start_us` identifies it, in whole milliseconds; `end_us` is the capture time of its last point.
    """

    version: Literal[1] = 1
    tenant: Slug
    camera: Slug
    track: str
    label: str
    confidence: UnitFloat
    """The highest confidence among these points."""
    start_us: int
    end_us: int
    points: Annotated[tuple[PathPoint, ...], Field(min_length=1, max_length=1_000)]
    source: AlarmSource = AlarmSource.LIVE


class AnalysedCell(Frozen):
    """When a camera was analysed within one cell of capture time (`PATH_CELL_US`), whether or not
    anything was there. Delivery is idempotent.

    `start_us` identifies it, together with its source; `end_us` is the capture time of its last
    frame.
    """

    version: Literal[1] = 1
    tenant: Slug
    camera: Slug
    start_us: int
    end_us: int
    times: Annotated[tuple[int, ...], Field(min_length=1, max_length=1_000)]
    """Of each analysed frame, milliseconds after the start."""
    tracks: int
    """Objects that have a path in this cell: with fewer in the records, some were lost."""
    source: AlarmSource = AlarmSource.LIVE


class Segment(Frozen):
    """One file of a recording, as stored in the records.

    Attributes:
        start_us: capture time of its first frame.
        end_us: end of its last frame.
        origin_us: time 0 of the file: capture time = `origin_us` + time in the file.
        codec: of the video, by libav's name; width and height in source pixels.
        audio: codec of the audio track; None if there is none.
        size: bytes.
        sha256: of the whole file, hexadecimal.
        blob: key of the file in the tenant's blob storage.
        masked: whether privacy masks are painted into the frames.
        note: a remark for people, e.g. that audio was omitted; usually empty.
        masks_us: masks were painted into it afterwards: those that the camera has had since this
            moment. None: they were not.
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
    masks_us: int | None = None

    @property
    def painted_us(self) -> int | None:
        """All masks that the camera had at this moment are painted into it, as far as anybody can
        tell; None: it is unmasked."""
        return painted_us(self.start_us, self.masks_us, masked=self.masked)


def painted_us(from_us: int, masks_us: int | None, *, masked: bool) -> int | None:
    """All masks that a camera had at this moment are painted into a video of it; None: it is
    unmasked.

    Args:
        from_us: capture time of its first frame, UTC microseconds.
        masks_us: as of a `Segment`.
    """
    if not masked:
        return None
    live_us = from_us - MASK_DELAY_US
    return live_us if masks_us is None else max(live_us, masks_us)


@dataclass(frozen=True, slots=True)
class Crop:
    """The best image of one object, with its sighting.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, source resolution.
        sighting: stored together with the image.
    """

    pixels: npt.NDArray[np.uint8]
    sighting: Sighting
