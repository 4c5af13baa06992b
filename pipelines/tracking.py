"""Tracks the objects of one camera, including those that are lost and return.

Three layers: boxes are associated from frame to frame (`association`); lost objects are
re-identified by place or reach (`reappearance`); and this module keeps one `_Subject` per object,
with a stable key for as long as it is remembered.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from math import hypot
from statistics import median

import numpy as np

from pipelines.association import Associator, Tracklet
from pipelines.confirmation import HitRun
from pipelines.domain import Detections, FrameStamp, PixelBox, Track
from pipelines.geometry import EPSILON, Point, area, foot_point, intersection
from pipelines.identity import track_key
from pipelines.lookalikes import LOOKALIKES
from pipelines.reappearance import (
    MOVING_MEMORY_US,
    STANDING_US,
    S,
    foot_distance,
    memory_us,
    same_place,
    within_reach,
)
from pipelines.timeline import Timeline

# Two boxes of one group but different classes with at least this IoU are one object detected twice:
# detectors suppress duplicates within a class only.
DOUBLE_OVERLAP = 0.8

# Longer side of the frame in tracking units. With fixed units a camera behaves the same at every
# resolution, and may change it (day and night profiles).
UNITS = 640.0

# A track's confidence for rules is the median of its last hits, which is robust against a single
# lucky or blurred frame.
STEADY_HITS = 7

# The class is a vote of about the last 50 hits, weighted by confidence; another class must lead
# clearly, so that a close vote does not oscillate.
VOTE_DECAY = 0.98
VOTE_LEAD = 1.5

# Objects in sight within STARTUP_US after the camera starts, or returns after a gap of AWAY_US, may
# have been there before; see `Observation.present_at_start`.
STARTUP_US = 1 * S
AWAY_US = 60 * S

# An object left the picture just now if it was still seen this shortly before. What was hidden for
# longer may as well have stopped behind what hides it.
LEFT_US = 1 * S

# Limit of remembered objects per camera; a crowded square shows some 100 at once.
MAX_SUBJECTS = 1_000


@dataclass(frozen=True, slots=True)
class Observation:
    """One object in one frame, as rules see it.

    Attributes:
        track: its public representation.
        confirmed: whether it was seen often enough.
        steady_confidence: median over its last hits.
        foot: its foot point, normalized.
        height: of its box, in frame heights.
        present_at_start: in sight when the camera started, and in the same place since. Otherwise,
            every restart would make every parked car a new object.
    """

    track: Track
    confirmed: bool
    steady_confidence: float
    foot: Point
    height: float
    present_at_start: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """One frame with its tracked objects.

    Attributes:
        scene_us: time since the first frame (`timeline`), for durations.
        seen: objects in this frame, sorted by key.
        ended: confirmed tracks that were lost in this frame; they may return.
        forgotten: keys that will not occur again.
        left: confirmed objects that left the picture just now, sorted by key, as they were last
            seen, but with the foot where they went: outside, well beyond the edge.
    """

    stamp: FrameStamp
    scene_us: int
    seen: tuple[Observation, ...]
    ended: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    left: tuple[Observation, ...] = ()

    @property
    def aspect(self) -> float:
        return self.stamp.width / self.stamp.height


@dataclass(frozen=True, slots=True)
class _Hit:
    """One detection; `box` in source pixels, `place` in tracking units."""

    box: PixelBox
    place: PixelBox
    confidence: float
    label: str

    @property
    def group(self) -> str:
        return LOOKALIKES.get(self.label, self.label)


@dataclass(slots=True, eq=False)
class _Subject:
    """One object, from its first hit until it is forgotten.

    `*_seen_us` is capture time, every other `*_us` is scene time. `shown`: as it was last seen.
    `left`: it moved out of the picture, so what comes in there is another.
    """

    key: str
    group: str
    label: str
    first_seen_us: int
    last_seen_us: int
    last_us: int
    place: PixelBox
    anchor: PixelBox
    anchor_us: int
    tracklet: Tracklet | None = None
    shown: Observation | None = None
    hits: int = 0
    run: HitRun = field(default_factory=HitRun)
    confirmed: bool = False
    present_at_start: bool = False
    left: bool = False
    votes: dict[str, float] = field(default_factory=dict)
    confidences: deque[float] = field(default_factory=lambda: deque(maxlen=STEADY_HITS))

    def observe(self, hit: _Hit, capture_us: int, scene_us: int, frame: int) -> None:
        self.hits += 1
        self.left = False
        self.last_us = scene_us
        # After a clock was set back, an object is not seen last before it was seen first.
        self.last_seen_us = max(self.first_seen_us, capture_us)
        self.place = hit.place
        if not same_place(self.anchor, hit.place):
            self.anchor, self.anchor_us = hit.place, scene_us
            self.present_at_start = False
        self.confidences.append(hit.confidence)
        self._vote(hit)
        self.run.found(frame, scene_us)
        self.confirmed = self.confirmed or self.run.confirms(scene_us)

    def _vote(self, hit: _Hit) -> None:
        for label in self.votes:
            self.votes[label] *= VOTE_DECAY
        self.votes[hit.label] = self.votes.get(hit.label, 0.0) + hit.confidence
        leader = min(self.votes, key=lambda label: (-self.votes[label], label))
        if self.votes[leader] > VOTE_LEAD * self.votes.get(self.label, 0.0):
            self.label = leader

    @property
    def stationary_us(self) -> int:
        return self.last_us - self.anchor_us

    def expired(self, scene_us: int) -> bool:
        return scene_us - self.last_us > memory_us(
            confirmed=self.confirmed, stationary_us=self.stationary_us
        )

    def return_cost(self, hit: _Hit, scene_us: int) -> tuple[int, float] | None:
        """Cost of matching this hit with the lost subject, lower is better; None: impossible."""
        gap = scene_us - self.last_us
        distance = foot_distance(self.place, hit.place)
        if self.stationary_us >= STANDING_US and same_place(self.anchor, hit.place):
            return (0, distance)
        if not self.left and gap <= MOVING_MEMORY_US and within_reach(self.place, hit.place, gap):
            return (1, distance)
        return None


class CameraTracker:
    """Tracks of one camera. Keys and state are specific to this camera.

    Args:
        activation: minimum confidence of a detection to start a track, 0..1.
    """

    def __init__(self, activation: float) -> None:
        self._activation = activation
        self._associators: dict[str, Associator] = {}
        self._subjects: dict[str, _Subject] = {}
        self._timeline = Timeline(break_us=MOVING_MEMORY_US + S)
        self._last_us: int | None = None
        self._startup_until_us = 0
        self._frame = 0

    @property
    def keys(self) -> frozenset[str]:
        """Keys of all objects that are tracked or remembered."""
        return frozenset(self._subjects)

    def set_activation(self, activation: float) -> None:
        self._activation = activation
        for associator in self._associators.values():
            associator.set_activation(activation)

    def update(self, stamp: FrameStamp, detections: Detections) -> Scene | None:
        """Process the detections of the next frame; None if the frame is late or repeated.

        Invalid boxes (not finite, empty, outside the frame) are ignored. The order of rows does not
        matter.
        """
        scene_us = self._timeline.advance(stamp.capture_us)
        if scene_us is None:
            return None
        if self._last_us is None or scene_us - self._last_us > AWAY_US:
            self._startup_until_us = scene_us + STARTUP_US
        self._last_us = scene_us
        self._frame += 1
        hits = _without_doubles(_hits(stamp, detections))
        pairs = self._associate(hits, stamp, scene_us)
        seen = self._recognize(pairs, stamp, scene_us)
        for subject, hit in seen:
            subject.shown = _observation(subject, hit, stamp)
        left = self._leaving(stamp, scene_us)
        ended = self._detach_lost()
        forgotten = self._forget(scene_us)
        shown = sorted((s.shown for s, _ in seen if s.shown), key=lambda o: o.track.key)
        return Scene(stamp, scene_us, tuple(shown), ended, forgotten, left)

    def _associate(
        self, hits: list[_Hit], stamp: FrameStamp, scene_us: int
    ) -> list[tuple[Tracklet, _Hit]]:
        scale = _scale(stamp)
        picture = (stamp.width * scale, stamp.height * scale)
        groups: dict[str, list[_Hit]] = {group: [] for group in self._associators}
        for hit in hits:
            groups.setdefault(hit.group, []).append(hit)
        pairs: list[tuple[Tracklet, _Hit]] = []
        for group in sorted(groups):
            members = groups[group]
            associator = self._associators.get(group)
            if associator is None:
                associator = self._associators[group] = Associator(self._activation)
            tokens = associator.update(
                [hit.place for hit in members],
                [hit.confidence for hit in members],
                scene_us / S,
                picture,
            )
            pairs += [(t, hit) for t, hit in zip(tokens, members, strict=True) if t is not None]
        return pairs

    def _recognize(
        self, pairs: list[tuple[Tracklet, _Hit]], stamp: FrameStamp, scene_us: int
    ) -> list[tuple[_Subject, _Hit]]:
        """The subject of each hit: the tracklet's own, one that returned, or a new one."""
        owners = {s.tracklet: s for s in self._subjects.values() if s.tracklet is not None}
        seen = [(owners[token], hit) for token, hit in pairs if token in owners]
        unknown = [(token, hit) for token, hit in pairs if token not in owners]
        taken = {subject.key for subject, _ in seen}
        if unknown:
            lost = [s for s in self._subjects.values() if s.key not in taken]
            returned = _match_returned(lost, unknown, scene_us)
            for token, hit in unknown:
                subject = returned.get(token) or self._new_subject(hit, stamp, scene_us)
                subject.tracklet = token
                seen.append((subject, hit))
        for subject, hit in seen:
            subject.observe(hit, stamp.capture_us, scene_us, self._frame)
        return seen

    def _new_subject(self, hit: _Hit, stamp: FrameStamp, scene_us: int) -> _Subject:
        size = (stamp.width, stamp.height)
        key = track_key(stamp.capture_us, hit.label, hit.box, size, self._subjects)
        subject = _Subject(
            key=key,
            group=hit.group,
            label=hit.label,
            first_seen_us=stamp.capture_us,
            last_seen_us=stamp.capture_us,
            last_us=scene_us,
            place=hit.place,
            anchor=hit.place,
            anchor_us=scene_us,
            present_at_start=scene_us <= self._startup_until_us,
        )
        self._subjects[key] = subject
        return subject

    def _leaving(self, stamp: FrameStamp, scene_us: int) -> tuple[Observation, ...]:
        """Confirmed objects that have just left the picture; see `Scene.left`."""
        gone = [
            _gone(subject.shown, subject.place, subject.tracklet, stamp)
            for subject in self._subjects.values()
            if subject.tracklet is not None
            and subject.tracklet.left
            and subject.confirmed
            and subject.shown is not None
            and scene_us - subject.last_us <= LEFT_US
        ]
        return tuple(sorted(gone, key=lambda one: one.track.key))

    def _detach_lost(self) -> tuple[str, ...]:
        """Detach subjects from tracklets that were dropped; returns keys of confirmed ones."""
        alive: set[Tracklet] = set()
        for group, associator in list(self._associators.items()):
            if associator.alive:
                alive |= associator.alive
            else:
                del self._associators[group]
        ended = []
        for subject in self._subjects.values():
            if subject.tracklet is not None and subject.tracklet not in alive:
                subject.left = subject.tracklet.left
                subject.tracklet = None
                if subject.confirmed:
                    ended.append(subject.key)
        return tuple(sorted(ended))

    def _forget(self, scene_us: int) -> tuple[str, ...]:
        gone = [
            s.key for s in self._subjects.values() if s.tracklet is None and s.expired(scene_us)
        ]
        excess = len(self._subjects) - len(gone) - MAX_SUBJECTS
        if excess > 0:
            known = set(gone)
            lost = [s for s in self._subjects.values() if s.tracklet is None and s.key not in known]
            lost.sort(key=lambda s: (s.last_us, s.key))
            gone += [s.key for s in lost[:excess]]
        for key in gone:
            del self._subjects[key]
        return tuple(sorted(gone))


def _match_returned(
    lost: list[_Subject], unknown: list[tuple[Tracklet, _Hit]], scene_us: int
) -> dict[Tracklet, _Subject]:
    """One-to-one matching, by lowest cost; ties go to the subject that was seen last."""
    expected: dict[str, list[_Subject]] = {}
    for subject in lost:
        if not subject.expired(scene_us):
            expected.setdefault(subject.group, []).append(subject)
    options = []
    for number, (token, hit) in enumerate(unknown):
        for subject in expected.get(hit.group, ()):
            cost = subject.return_cost(hit, scene_us)
            if cost is not None:
                rank = (cost[0], cost[1], -subject.last_us, subject.key, number)
                options.append((rank, token, subject))
    options.sort(key=lambda option: option[0])
    returned: dict[Tracklet, _Subject] = {}
    used: set[str] = set()
    for _, token, subject in options:
        if token not in returned and subject.key not in used:
            returned[token] = subject
            used.add(subject.key)
    return returned


def _scale(stamp: FrameStamp) -> float:
    """Tracking units per pixel."""
    return UNITS / max(stamp.width, stamp.height)


def _hits(stamp: FrameStamp, detections: Detections) -> list[_Hit]:
    """Valid rows, clipped to the frame, in an order that depends only on their content."""
    limit = np.array([stamp.width, stamp.height] * 2, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        boxes = np.clip(detections.xyxy.astype(np.float64), 0.0, limit)
        usable = (
            np.isfinite(detections.xyxy).all(axis=1)
            & np.isfinite(detections.confidence)
            & (boxes[:, 2] > boxes[:, 0])
            & (boxes[:, 3] > boxes[:, 1])
        )
    scale = _scale(stamp)
    confidences = np.clip(detections.confidence.astype(np.float64), 0.0, 1.0)
    hits = []
    for row in np.flatnonzero(usable):
        x1, y1, x2, y2 = boxes[row].tolist()
        hits.append(
            _Hit(
                box=(x1, y1, x2, y2),
                place=(x1 * scale, y1 * scale, x2 * scale, y2 * scale),
                confidence=float(confidences[row]),
                label=detections.labels[row],
            )
        )
    hits.sort(key=lambda hit: (hit.label, -hit.confidence, hit.box))
    return hits


def _without_doubles(hits: list[_Hit]) -> list[_Hit]:
    """Drop the less confident of two boxes that show one object under two confused classes."""
    labels = {hit.label for hit in hits}
    if len({LOOKALIKES.get(label, label) for label in labels}) == len(labels):
        return hits
    kept: list[_Hit] = []
    for hit in sorted(hits, key=lambda hit: -hit.confidence):
        doubled = any(
            other.group == hit.group
            and other.label != hit.label
            and _overlap(other.place, hit.place) > DOUBLE_OVERLAP
            for other in kept
        )
        if not doubled:
            kept.append(hit)
    return sorted(kept, key=lambda hit: (hit.label, -hit.confidence, hit.box))


def _overlap(a: PixelBox, b: PixelBox) -> float:
    shared = intersection(a, b)
    return shared / (area(a) + area(b) - shared)


def _observation(subject: _Subject, hit: _Hit, stamp: FrameStamp) -> Observation:
    foot = foot_point(hit.box)
    track = Track(
        key=subject.key,
        label=subject.label,
        confidence=hit.confidence,
        box=hit.box,
        first_seen_us=subject.first_seen_us,
        last_seen_us=subject.last_seen_us,
        age=subject.hits,
    )
    return Observation(
        track=track,
        confirmed=subject.confirmed,
        steady_confidence=median(subject.confidences),
        foot=(foot[0] / stamp.width, foot[1] / stamp.height),
        height=(hit.box[3] - hit.box[1]) / stamp.height,
        present_at_start=subject.present_at_start,
    )


def _gone(
    shown: Observation, place: PixelBox, tracklet: Tracklet, stamp: FrameStamp
) -> Observation:
    """The object one of its heights further on than its prediction, which is outside already.

    Its last box is cut by the edge and rarely a confident one: the steady confidence stands for it.
    That box comes from its place in tracking units, as the size of frames may have changed since.
    """
    motion, scale = tracklet.motion, _scale(stamp)
    ahead = shown.height * stamp.height * scale / max(hypot(motion.vx, motion.vy), EPSILON)
    x = motion.x + motion.vx * ahead
    y = motion.y + motion.height / 2 + motion.vy * ahead
    x1, y1, x2, y2 = (
        min(edge / scale, limit)
        for edge, limit in zip(place, (stamp.width, stamp.height) * 2, strict=True)
    )
    return replace(
        shown,
        track=replace(shown.track, confidence=shown.steady_confidence, box=(x1, y1, x2, y2)),
        foot=(x / (stamp.width * scale), y / (stamp.height * scale)),
    )
