"""Whom a tenant wants hidden in evidence, and where they are in a frame, by what the pipeline saw.
Pure.

Only what was stored is known: the boxes of tracks, and the times of analysed frames. A frame near
which none was analysed, or whose paths have not arrived or are lost, may show anybody: it is hidden
as a whole.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, floor
from typing import Annotated, NamedTuple

from pydantic import Field, StringConstraints

from pipelines.domain.base import Frozen, Slug
from pipelines.domain.events import (
    PATH_CELL_US,
    PATH_SCALE,
    Alarm,
    AlarmSource,
    AnalysedCell,
    Sighting,
    TrackPath,
)
from pipelines.retention import MAX_CAMERAS

S = 1_000_000
"""Microseconds per second."""
MAX_CLASSES = 16

# A frame is known where another was analysed at most this long before and after it. So whoever
# comes into sight at a known frame is first seen at most this much later, which is also how far
# each track is extended to both sides: at one analysed frame per second nobody is missed between.
KNOWN_US = 1 * S
EXTEND_US = KNOWN_US
# Paths have milliseconds, frames are at least 33 of them apart.
SAME_FRAME_US = 2_000
# A track is followed without a gap of 3 s (`pipelines.reappearance`): within one, the person is
# between the two boxes.
BRIDGE_US = 3 * S
# What else must be read on each side of a stretch of time.
PAD_US = BRIDGE_US
# Paths of a cell are sent when it ends, and are in the records some seconds later.
SETTLE_US = 10 * S

# Detectors cut off hands, feet and hair: 8 % of the longer side. Between two samples the straight
# way is covered already, and a turn leaves it by less than half a height per second; beyond the
# first and the last sample a runner makes 1.5 heights (2.7 m) per second.
MARGIN = 0.08
TURN_PER_S = 0.5
RUN_PER_S = 1.5

# Cells of the mosaic. A head is about an eighth of a standing person, so that it becomes one or two
# cells; of a person of whom only head and shoulders are in the box it is half the width. Networks
# that are trained for it recognise faces in mosaics of dozens of cells per face (McPherson, Shokri,
# Shmatikov: Defeating Image Obfuscation with Deep Learning, 2016, arXiv:1609.00408).
CELLS_PER_HEIGHT = 8
CELLS_PER_WIDTH = 3
MIN_CELL = 8
# Of a frame in which everything is hidden; somebody may stand right before the camera.
CELLS_PER_FRAME = 4

# The head of a standing person is the upper 13 % of the box; of a sitting or stooping one, or where
# the box ends at the chest, more.
HEAD_PART = 0.3
HEAD_PER_WIDTH = 0.6


class Hide(StrEnum):
    """What of a person is hidden."""

    OFF = "off"
    PERSONS = "persons"
    """The whole box."""
    HEADS = "heads"
    """Its upper part, where the head of a standing person is. No model looks for faces."""


class HideStyle(StrEnum):
    """How it is hidden."""

    MOSAIC = "mosaic"
    """Cells of about the size of a head, each of its mean colour."""
    FILL = "fill"
    """Grey, of which nothing can be reconstructed."""


ClassName = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]


class AnonymisationPolicy(Frozen):
    """A tenant's wishes.

    Attributes:
        hide: on all cameras.
        cameras: on single cameras, where they differ.
        keep_audio: whether anonymised clips and exports keep their sound.
        classes: names of the detector's classes that are persons.
    """

    hide: Hide = Hide.OFF
    cameras: Annotated[dict[Slug, Hide], Field(max_length=MAX_CAMERAS)] = Field(
        default_factory=dict
    )
    style: HideStyle = HideStyle.MOSAIC
    keep_audio: bool = False
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=MAX_CLASSES)] = (
        "person",
    )

    def rule(self, camera: str | None) -> HideRule | None:
        """What applies to a camera; None: nothing is hidden.

        Args:
            camera: None: it is not known whose a file is, so that the strictest wish applies.
        """
        if camera is not None:
            hide = self.cameras.get(camera, self.hide)
        else:
            wishes = {self.hide, *self.cameras.values()}
            hide = next((h for h in (Hide.PERSONS, Hide.HEADS) if h in wishes), Hide.OFF)
        if hide is Hide.OFF:
            return None
        return HideRule(hide, self.style, self.keep_audio, tuple(sorted(set(self.classes))))

    @property
    def hides(self) -> bool:
        """Whether anything is hidden on any camera."""
        return self.rule(None) is not None


@dataclass(frozen=True, slots=True)
class HideRule:
    """What applies to one camera. As in `AnonymisationPolicy`."""

    hide: Hide
    style: HideStyle
    keep_audio: bool
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A name of the rule: 16 hexadecimal digits, another one for every other rule."""
        return _digest([self.hide, self.style, self.keep_audio, self.classes])

    def is_person(self, label: str) -> bool:
        """Whether objects of this class are persons."""
        return label.casefold() in {name.casefold() for name in self.classes}


Box = tuple[float, float, float, float]
"""x1, y1, x2, y2, normalized."""


class Sample(NamedTuple):
    """Where a person was, in the frame of that capture time (UTC microseconds)."""

    at_us: int
    box: Box


class Region(NamedTuple):
    """A part of a frame to hide, in whole pixels: even, or at the frame's edge; x2 and y2
    exclusive. `cell`: side of the mosaic's cells."""

    x1: int
    y1: int
    x2: int
    y2: int
    cell: int


def complete_until_us(now_us: int) -> int:
    """Up to which capture time everything that shows persons must be in the records by now."""
    return (now_us - SETTLE_US) // PATH_CELL_US * PATH_CELL_US - EXTEND_US


def whole(size: tuple[int, int]) -> Region:
    """A frame of `size` (width, height), all of it."""
    width, height = size
    return Region(0, 0, width, height, max(MIN_CELL, ceil(max(size) / CELLS_PER_FRAME)))


@dataclass(frozen=True, slots=True)
class Persons:
    """The persons on one camera over a stretch of time.

    Attributes:
        hide: whole persons, or their heads.
        tracks: samples of each person in time order.
        seen_us: capture times of frames that were analysed, ascending.
        until_us: later frames are not known yet.
        doubtful: spans (from, to) in which somebody was, but nobody knows where.
        digest: a name of all that is known: another one wherever another picture could come of it.
    """

    hide: Hide
    tracks: tuple[tuple[Sample, ...], ...] = ()
    seen_us: tuple[int, ...] = ()
    until_us: int = 0
    doubtful: tuple[tuple[int, int], ...] = ()
    digest: str = field(init=False, compare=False)
    _spans: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spans = tuple((t[0].at_us - EXTEND_US, t[-1].at_us + EXTEND_US) for t in self.tracks)
        object.__setattr__(self, "_spans", spans)
        known = [self.hide, self.tracks, self.seen_us, self.until_us, self.doubtful]
        object.__setattr__(self, "digest", _digest(known))

    def is_known(self, at_us: int) -> bool:
        """Whether a frame was analysed, so that persons in it are among the tracks."""
        if at_us > self.until_us or any(start <= at_us <= end for start, end in self.doubtful):
            return False
        n = bisect_right(self.seen_us, at_us)
        before_us = at_us - self.seen_us[n - 1] if n else KNOWN_US + 1
        after_us = self.seen_us[n] - at_us if n < len(self.seen_us) else KNOWN_US + 1
        analysed = min(before_us, after_us) <= SAME_FRAME_US
        return analysed or max(before_us, after_us) <= KNOWN_US

    def regions(self, at_us: int, size: tuple[int, int]) -> list[Region]:
        """What to hide in the frame of a capture time.

        Args:
            size: width, height of the frame in pixels.
        """
        if not self.is_known(at_us):
            return [whole(size)]
        found = []
        for track, (start_us, end_us) in zip(self.tracks, self._spans, strict=True):
            if start_us <= at_us <= end_us:
                region = _region(track, at_us, size, self.hide)
                if region is not None:
                    found.append(region)
        return found

    def touches(self, box: Box) -> bool:
        """Whether any person is ever near a box (normalized)."""
        x1, y1, x2, y2 = _grown(box, MARGIN, (1, 1))
        return any(
            a < x2 and c > x1 and b < y2 and d > y1
            for track in self.tracks
            for _, (a, b, c, d) in track
        )


def persons_in(
    rule: HideRule,
    paths: Iterable[TrackPath],
    alarms: Iterable[Alarm] = (),
    sightings: Iterable[Sighting] = (),
    cells: Iterable[AnalysedCell] = (),
    *,
    span: tuple[int, int],
    now_us: int,
) -> Persons:
    """The persons of one camera.

    Args:
        paths, alarms, sightings, cells: of the span with `PAD_US` on each side, in whole cells.
        span: first and last capture time that matter, UTC microseconds.
    """
    paths, alarms, sightings = list(paths), list(alarms), list(sightings)
    things: list[TrackPath | Alarm | Sighting] = [*paths, *alarms, *sightings]
    names = {thing.track for thing in things if rule.is_person(thing.label)}
    tracks: dict[str, dict[int, Box]] = {}
    seen: set[int] = set()
    for path in paths:
        points = {path.start_us + p[0] * 1_000: _unscaled(p[1:]) for p in path.points}
        # A job may have run a model that knows no persons.
        seen |= points.keys() if path.source is AlarmSource.LIVE else set()
        if path.track in names:
            tracks.setdefault(path.track, {}).update(points)
    whole_cells, torn_cells = _cells(cells, paths)
    seen |= whole_cells
    located = {name: tuple(sorted(times)) for name, times in tracks.items()}
    for alarm in alarms:
        # Not among what was seen: it says nothing of the other persons in its frame.
        if alarm.track in names:
            tracks.setdefault(alarm.track, {})[alarm.capture_us] = alarm.box
    return Persons(
        rule.hide,
        tuple(
            tuple(Sample(at_us, box) for at_us, box in sorted(tracks[name].items()))
            for name in sorted(tracks)
        ),
        tuple(sorted(seen)),
        min(span[1], complete_until_us(now_us)),
        tuple(sorted(_doubtful(rule, sightings, located, span) + torn_cells)),
    )


def _cells(
    cells: Iterable[AnalysedCell], paths: Iterable[TrackPath]
) -> tuple[set[int], list[tuple[int, int]]]:
    """Capture times of the frames that the live analysis saw in cells whose paths are all there;
    and the spans of cells of which some are lost."""
    there: dict[int, set[str]] = {}
    for path in paths:
        there.setdefault(path.start_us // PATH_CELL_US, set()).add(path.track)
    seen, torn = set[int](), list[tuple[int, int]]()
    for cell in cells:
        if cell.source is not AlarmSource.LIVE:
            continue
        if len(there.get(cell.start_us // PATH_CELL_US, ())) < cell.tracks:
            torn.append((cell.start_us - EXTEND_US, cell.start_us + PATH_CELL_US + EXTEND_US))
        else:
            seen |= {cell.start_us + at_ms * 1_000 for at_ms in cell.times}
    return seen, torn


def _doubtful(
    rule: HideRule,
    sightings: Sequence[Sighting],
    located: dict[str, tuple[int, ...]],
    span: tuple[int, int],
) -> list[tuple[int, int]]:
    """Spans in which a person was in sight whose paths are lost altogether."""
    found = []
    for seen in sightings:
        start_us = max(seen.first_seen_us, span[0] - PAD_US)
        end_us = min(seen.last_seen_us, span[1] + PAD_US)
        times = located.get(seen.track, ())
        known = any(start_us - S <= at_us <= end_us + S for at_us in times)
        if rule.is_person(seen.label) and start_us <= end_us and not known:
            found.append((start_us - EXTEND_US, end_us + EXTEND_US))
    return found


def _region(
    track: Sequence[Sample], at_us: int, size: tuple[int, int], hide: Hide
) -> Region | None:
    """What to hide of one person; None: out of sight at that time."""
    n = bisect_right(track, at_us, key=lambda sample: sample.at_us)
    before, after = (track[n - 1] if n else None), (track[n] if n < len(track) else None)
    bridged = before is not None and after is not None and after.at_us - before.at_us <= BRIDGE_US
    near = [
        sample
        for sample in (before, after)
        if sample is not None and (bridged or abs(sample.at_us - at_us) <= EXTEND_US)
    ]
    if not near:
        return None
    nearest = min(near, key=lambda sample: abs(sample.at_us - at_us))
    distance_s = abs(nearest.at_us - at_us) / S
    margin = MARGIN + distance_s * (TURN_PER_S if bridged else RUN_PER_S)
    boxes = [_pixels(sample.box, size) for sample in near]
    reach = margin * max(max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes)
    if hide is Hide.HEADS:
        boxes = [_head(box) for box in boxes]
    hull = (
        min(box[0] for box in boxes) - reach,
        min(box[1] for box in boxes) - reach,
        max(box[2] for box in boxes) + reach,
        max(box[3] for box in boxes) + reach,
    )
    return _aligned(hull, size, _cell(_pixels(nearest.box, size)))


def _head(box: Box) -> Box:
    x1, y1, x2, y2 = box
    height = max(HEAD_PART * (y2 - y1), HEAD_PER_WIDTH * (x2 - x1))
    return (x1, y1, x2, min(y2, y1 + height))


def _cell(box: Box) -> int:
    width, height = box[2] - box[0], box[3] - box[1]
    return max(MIN_CELL, ceil(max(height / CELLS_PER_HEIGHT, width / CELLS_PER_WIDTH)))


def _aligned(box: Box, size: tuple[int, int], cell: int) -> Region | None:
    """The box in whole pixels of the half-size chroma planes, clipped to the frame."""
    x1, y1 = (max(0, floor(value / 2) * 2) for value in box[:2])
    x2, y2 = (min(side, ceil(value / 2) * 2) for value, side in zip(box[2:], size, strict=True))
    return Region(x1, y1, x2, y2, cell) if x1 < x2 and y1 < y2 else None


def _pixels(box: Box, size: tuple[int, int]) -> Box:
    return (box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1])


def _grown(box: Box, by: float, size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = _pixels(box, size)
    reach = by * max(x2 - x1, y2 - y1)
    return (x1 - reach, y1 - reach, x2 + reach, y2 + reach)


def _unscaled(corners: Sequence[int]) -> Box:
    x1, y1, x2, y2 = (corner / PATH_SCALE for corner in corners)
    return (x1, y1, x2, y2)


def _digest(content: object) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
