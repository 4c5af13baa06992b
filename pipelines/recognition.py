"""Recognizes tracks and alarms of an earlier analysis of the same scene. Pure.

Whoever analyses a scene again may see other frames of it: at another rate, with another model, or
because some were skipped. Then tracks begin at other frames and so have other keys, and every event
would be a second one. So what is found again takes the key and the id that it was given first: it
is recognized by class, time and place.

Boxes here are normalized: x1, y1, x2, y2 in parts of the frame's width and height. Times are UTC
microseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import NamedTuple
from uuid import UUID

from pipelines.domain import PATH_SCALE, Alarm, RuleKind, TrackPath
from pipelines.lookalikes import LOOKALIKES

Box = tuple[float, float, float, float]

# Between two points of a path. Beyond this nobody knows where the object was meanwhile: it may have
# been hidden, and have stopped.
MAX_GAP_US = 2_000_000
# Before the first point of a track and after its last one: a few frames that only one of the
# analyses had.
MAX_BEYOND_US = 600_000
# Two boxes at one time show one object if their centres are at most this far apart, in parts of
# their size. Two boxes of equal size overlap by an IoU of 0.25 then, if they are shifted along one
# axis; people side by side are a whole width apart.
SAME_PLACE = 0.6
# Part of the times that two tracks have in common at which they must be in the same place.
MOSTLY = 0.5
# Alarms of one event differ by the frames that only one analysis had, and by how long it took to
# confirm the object: a second each.
SAME_TIME_US = 2_000_000


class Point(NamedTuple):
    """Where an object was."""

    at_us: int
    box: Box


def group_of(label: str) -> str:
    """The class, or the classes that detectors confuse with it."""
    return LOOKALIKES.get(label, label)


def apart(one: Box, other: Box) -> float:
    """Distance of the centres, in parts of the boxes' mean size."""
    width = (one[2] - one[0] + other[2] - other[0]) / 2
    height = (one[3] - one[1] + other[3] - other[1]) / 2
    dx = (one[0] + one[2] - other[0] - other[2]) / 2
    dy = (one[1] + one[3] - other[1] - other[3]) / 2
    return hypot(dx / max(width, 1e-6), dy / max(height, 1e-6))


@dataclass(frozen=True, slots=True)
class KnownTrack:
    """A track of an earlier analysis.

    Attributes:
        points: in order of time, at least one.
    """

    key: str
    group: str
    points: tuple[Point, ...]

    def box_at(self, at_us: int) -> Box | None:
        """Where it was, or would have been shortly before and after; None: unknown."""
        points = self.points
        n = bisect_right(points, at_us, key=lambda point: point.at_us)
        before, after = points[max(n - 1, 0)], points[min(n, len(points) - 1)]
        if before.at_us <= at_us <= after.at_us:
            near = min(at_us - before.at_us, after.at_us - at_us) <= MAX_BEYOND_US
            if after.at_us - before.at_us > MAX_GAP_US and not near:
                return None
            return _between(before, after, at_us)
        if min(abs(at_us - before.at_us), abs(at_us - after.at_us)) > MAX_BEYOND_US:
            return None
        # At one of its ends: on as it moved there.
        ends = points[:2] if n == 0 else points[-2:]
        if len(ends) < 2 or ends[1].at_us - ends[0].at_us > MAX_GAP_US:
            return ends[0].box if n == 0 else ends[-1].box
        return _between(ends[0], ends[1], at_us)


def _between(one: Point, other: Point, at_us: int) -> Box:
    """On the line through two points, also beyond them."""
    span_us = other.at_us - one.at_us
    part = (at_us - one.at_us) / span_us if span_us else 0.0
    x1, y1, x2, y2 = (a + (b - a) * part for a, b in zip(one.box, other.box, strict=True))
    return (x1, y1, max(x2, x1), max(y2, y1))


def known_tracks(paths: Iterable[TrackPath]) -> list[KnownTrack]:
    """Tracks by their paths; those of one camera, in any order."""
    labels: dict[str, str] = {}
    points: dict[str, dict[int, Box]] = {}
    for path in paths:
        labels[path.track] = path.label
        of_track = points.setdefault(path.track, {})
        for at_ms, *corners in path.points:
            x1, y1, x2, y2 = (corner / PATH_SCALE for corner in corners)
            of_track[path.start_us + at_ms * 1_000] = (x1, y1, x2, y2)
    return [
        KnownTrack(
            key, group_of(labels[key]), tuple(Point(*item) for item in sorted(found.items()))
        )
        for key, found in sorted(points.items())
    ]


@dataclass(frozen=True, slots=True)
class Likeness:
    """How well a track agrees with a known one. The larger one is the better.

    Attributes:
        same: times at which both were in the same place.
        distance: mean distance at these times.
    """

    same: int
    distance: float

    def __lt__(self, other: Likeness) -> bool:
        return (self.same, -self.distance) < (other.same, -other.distance)


def likeness(points: Sequence[Point], known: KnownTrack) -> Likeness | None:
    """How well a track's points agree with a known track; None: they show different objects, or
    were never seen at the same time."""
    distances = [
        apart(point.box, box) for point in points if (box := known.box_at(point.at_us)) is not None
    ]
    near = [distance for distance in distances if distance <= SAME_PLACE]
    if not near or len(near) < MOSTLY * len(distances):
        return None
    return Likeness(len(near), sum(near) / len(near))


class Recognized:
    """Which tracks of this analysis are which known ones, as it goes on.

    Once a track has a name it keeps it. One known track may be several of this analysis, one after
    the other, where this one lost the object; never two at the same time.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._spans: dict[str, list[tuple[int, int, str]]] = {}
        """By name: from when to when which track had it."""

    def name(self, track: str) -> str:
        """The name of a track: its own key if it was not recognized."""
        return self._names.setdefault(track, track)

    def recognize(
        self, tracks: Mapping[str, tuple[str, Sequence[Point]]], known: Sequence[KnownTrack]
    ) -> None:
        """Name the tracks that have no name yet, the best agreement first.

        Args:
            tracks: by key: class, and points in order of time. Those that have a name are part of
                it, because theirs is taken meanwhile.
            known: of the same time.
        """
        for track, (_, points) in tracks.items():
            if track in self._names and points:
                self._occupy(track, points)
        options = [
            (like, -number, track)
            for track, (label, points) in sorted(tracks.items())
            if track not in self._names
            for number, one in enumerate(known)
            if one.group == group_of(label) and (like := likeness(points, one)) is not None
        ]
        for _, number, track in sorted(options, key=lambda option: option[:2], reverse=True):
            name = known[-number].key
            if track not in self._names and self._is_free(name, track, tracks[track][1]):
                self._names[track] = name
                self._occupy(track, tracks[track][1])
        for track, (_, points) in tracks.items():
            if track not in self._names:
                self._names[track] = track
                self._occupy(track, points)

    def forget(self, tracks: Iterable[str], before_us: int) -> None:
        """Bound the memory: `tracks` will not occur again, and nothing before `before_us`."""
        for track in tracks:
            self._names.pop(track, None)
        for name, spans in list(self._spans.items()):
            self._spans[name] = [span for span in spans if span[1] >= before_us]
            if not self._spans[name]:
                del self._spans[name]

    def _occupy(self, track: str, points: Sequence[Point]) -> None:
        spans = self._spans.setdefault(self._names[track], [])
        spans.append((points[0].at_us, points[-1].at_us, track))

    def _is_free(self, name: str, track: str, points: Sequence[Point]) -> bool:
        from_us, to_us = points[0].at_us, points[-1].at_us
        return not any(
            other != track and start_us <= to_us and end_us >= from_us
            for start_us, end_us, other in self._spans.get(name, ())
        )


class SameEvents:
    """Which alarms of this analysis are which known ones: each known one is one of ours at most."""

    def __init__(self) -> None:
        self._taken: dict[UUID, int] = {}

    def known(
        self,
        alarm: Alarm,
        earlier: Iterable[Alarm],
        tracks: Mapping[str, KnownTrack],
        *,
        within_us: int = SAME_TIME_US,
    ) -> Alarm | None:
        """The known alarm of the same event; None: this event is new.

        Args:
            alarm: its `track` is the name of the track.
            earlier: alarms of the same camera that are known.
            tracks: known, by key, of the time of the alarms.
            within_us: how far apart they may be, if they are of one track.
        """
        best: tuple[tuple[bool, bool, int], Alarm] | None = None
        for other in earlier:
            late_us = abs(other.capture_us - alarm.capture_us)
            if other.rule != alarm.rule or other.id in self._taken:
                continue
            same_track = other.track == alarm.track
            if late_us > (max(within_us, SAME_TIME_US) if same_track else SAME_TIME_US):
                continue
            if not (same_track or _same_place(alarm, other, tracks.get(other.track))):
                continue
            rank = (other.id != alarm.id, not same_track, late_us)
            if best is None or rank < best[0]:
                best = rank, other
        if best is None:
            return None
        self.take([best[1]])
        return best[1]

    def take(self, alarms: Iterable[Alarm]) -> None:
        """Of these, none is the same as any other event of ours."""
        self._taken |= {alarm.id: alarm.capture_us for alarm in alarms}

    def forget(self, before_us: int) -> None:
        """Drop what was before, so that memory stays bounded."""
        self._taken = {id: at_us for id, at_us in self._taken.items() if at_us >= before_us}


def _same_place(alarm: Alarm, other: Alarm, track: KnownTrack | None) -> bool:
    """Whether an alarm of another track is of the same object. That of a count is of no single
    one."""
    if alarm.kind is RuleKind.COUNT:
        return True
    if group_of(alarm.label) != group_of(other.label):
        return False
    box = track.box_at(alarm.capture_us) if track is not None else other.box
    return box is not None and apart(alarm.box, box) <= SAME_PLACE
