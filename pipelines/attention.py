"""Decides which frames of a camera are worth a detection, and how urgent each is. Pure.

Three rates on one grid of capture time: a heartbeat where nothing moves, `detect_fps` while
something does, and more for seconds after something new does. The frames of a lower rate are among
those of a higher one, so whoever looks more often (a job that does not know yet what lies behind
its first frame) has the frames of everybody else.

Decisions depend on pixels (`movement`) and on what earlier detections found (`Sights`), and those
count from a fixed time after their frame, however fast the detector was. So the same frames give
the same decisions, live or in batch, unless a detector takes longer than that.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from pipelines.domain import Camera, Detections, LineCrossRule, PixelBox, Rule
from pipelines.geometry import area
from pipelines.lookalikes import LOOKALIKES
from pipelines.movement import CELL, Grid, Luma, Movement, widened
from pipelines.reappearance import STANDING_US, same_place
from pipelines.sampling import JUMP_US, NEAR_RATE, Skip

S = 1_000_000
"""Microseconds per second."""

# Something new is looked at closely for this long: three looks confirm it, and a track that has
# begun is followed at the camera's usual rate.
CLOSE_US = 3 * S // 2
# What moves where nothing has moved for this long is new. Branches in a slow wind move every 7 s.
NEW_US = 10 * S
# How long looking goes on after the last movement: legs pause between two steps.
LINGER_US = 1 * S
# What a frame showed counts from this long after it was captured. Capture to result takes 0.19 s
# at p95 with a busy detector.
LAG_US = 4 * S // 10
# How long a place is remembered in which something was seen: five heartbeats of 2 s.
PLACE_US = 10 * S
# Boxes of a frame that are compared, the most confident ones; bounds the cost of a crowd.
MOST_PLACES = 50
# Minimum confidence of a box that is followed, as for tracks.
SURE = 0.4


class Urgency(IntEnum):
    """Why a frame is analysed; the higher, the more urgent."""

    HEARTBEAT = 1
    """Nothing moves: a look for what moved too slowly, or came while nobody looked."""
    TRACKED = 2
    """Something moves, or is not known to stand still."""
    NEAR_RULE = 3
    """Something moves near the zone or line of a rule."""
    NEW = 4
    """Something moves where nothing did."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Frames per second of a camera, as a grid.

    Attributes:
        period_us: between two frames at the usual rate.
        closer: by how much the highest rate is higher; whole.
        beat: by how much the heartbeat is lower; whole.
    """

    period_us: int
    closer: int
    beat: int

    @classmethod
    def of(cls, camera: Camera) -> Rates:
        """Those of a camera. A highest rate in between is rounded down, a heartbeat up."""
        fps = camera.detect_fps
        return cls(
            period_us=round(S / fps),
            closer=max(1, int(camera.detect_fps_max / fps)),
            beat=max(1, int(fps / camera.detect_fps_min)),
        )

    def cell(self, at_us: int, phase: float, urgency: Urgency | None) -> int:
        """Number of the cell of that time, counted from 1970, at the rate for this urgency; None:
        the highest rate."""
        elapsed_us = at_us - round(phase * self.period_us)
        if urgency is None or urgency is Urgency.NEW:
            return elapsed_us * self.closer // self.period_us
        cell = elapsed_us // self.period_us
        return cell // self.beat if urgency is Urgency.HEARTBEAT else cell

    def interval_us(self, urgency: Urgency | None) -> float:
        """Length of such a cell."""
        if urgency is None or urgency is Urgency.NEW:
            return self.period_us / self.closer
        return self.period_us * (self.beat if urgency is Urgency.HEARTBEAT else 1)


@dataclass(slots=True)
class _Place:
    """Where something was seen; the box in shares of the picture."""

    group: str
    box: PixelBox
    first_us: int
    last_us: int


class Sights:
    """What stands where: tells what is known to stand still from what is not."""

    def __init__(self) -> None:
        self._places: list[_Place] = []

    def restless(self, at_us: int, detections: Detections, size: tuple[int, int]) -> bool:
        """Whether something in this frame is not known to have stood there for a while.

        Args:
            at_us: capture time.
            detections: in source pixels.
            size: width and height of the frame.
        """
        self._places = [place for place in self._places if 0 <= at_us - place.last_us <= PLACE_US]
        free = list(self._places)
        restless = False
        for group, box in _sure_boxes(detections, size):
            place = next((p for p in free if p.group == group and same_place(p.box, box)), None)
            if place is None:
                self._places.append(_Place(group, box, at_us, at_us))
                restless = True
                continue
            free.remove(place)
            place.last_us = at_us
            restless = restless or at_us - place.first_us < STANDING_US
        return restless


def _sure_boxes(detections: Detections, size: tuple[int, int]) -> list[tuple[str, PixelBox]]:
    order = np.lexsort((detections.xyxy[:, 0], -detections.confidence))[:MOST_PLACES]
    sides = (*size, *size)
    found = []
    for row in order:
        x1, y1, x2, y2 = (
            float(value) / side for value, side in zip(detections.xyxy[row], sides, strict=True)
        )
        label = detections.labels[row]
        if detections.confidence[row] >= SURE and area((x1, y1, x2, y2)) > 0.0:
            found.append((LOOKALIKES.get(label, label), (x1, y1, x2, y2)))
    return found


class Attention:
    """How urgent a look at a camera is, picture by picture.

    Args:
        unknown: while there is no background to compare with.
    """

    def __init__(self, unknown: Urgency = Urgency.TRACKED) -> None:
        self._unknown = unknown
        self._movement = Movement()
        self._sights = Sights()
        self._moved_us: np.ndarray[tuple[int, int], np.dtype[np.int64]] | None = None
        self._any_us = self._close_us = self._restless_us = -NEW_US
        self._found: deque[tuple[int, bool]] = deque()
        self._rules: tuple[Rule, ...] = ()
        self._near: Grid | None = None

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Rules decide how urgent a frame is among others, never whether it is analysed: then a
        job with other rules could not use the same detections."""
        if rules != self._rules:
            self._rules, self._near = rules, None

    def learn(self, at_us: int, detections: Detections, size: tuple[int, int]) -> None:
        """What was found in the frame captured at `at_us`; frames come in order."""
        self._found.append((at_us, self._sights.restless(at_us, detections, size)))

    def observe(self, at_us: int, luma: Luma) -> Urgency:
        """How urgent a look is at this moment.

        Args:
            at_us: capture time; pictures come in its order.
            luma: of `movement.small_luma`.
        """
        cells = self._movement.observe(at_us, luma)
        near = self._track(at_us, cells)
        while self._found and self._found[0][0] + LAG_US <= at_us:
            found_us, restless = self._found.popleft()
            if restless:
                self._restless_us = found_us + LAG_US
        if not self._movement.known:
            return self._unknown
        if 0 <= at_us - self._close_us < CLOSE_US:
            return Urgency.NEW
        if near:
            return Urgency.NEAR_RULE
        if 0 <= at_us - max(self._any_us, self._restless_us) < LINGER_US:
            return Urgency.TRACKED
        return Urgency.HEARTBEAT

    def _track(self, at_us: int, cells: Grid) -> bool:
        """Note what moves; returns whether it moves near a rule."""
        moved_us = self._moved_us
        if moved_us is None or moved_us.shape != cells.shape or moved_us.max() > at_us:
            moved_us = self._moved_us = np.full(cells.shape, at_us - NEW_US, np.int64)
            self._near = None
        if not cells.any():
            return False
        recent = widened(at_us - moved_us < NEW_US)
        if (cells & ~recent).any():
            self._close_us = at_us
        moved_us[cells] = at_us
        self._any_us = at_us
        if self._near is None:
            self._near = near_rules(self._rules, cells.shape)
        return bool((cells & self._near).any())


def near_rules(rules: Sequence[Rule], shape: tuple[int, ...]) -> Grid:
    """Cells near a zone or line of the rules, bool of this shape (rows, columns)."""
    raster = np.zeros((shape[0] * CELL, shape[1] * CELL), np.uint8)
    for rule in rules:
        corners = rule.line if isinstance(rule, LineCrossRule) else rule.polygon
        points = np.array(corners) * (raster.shape[1], raster.shape[0])
        pixels = np.round(points).astype(np.int32)
        cv2.polylines(raster, [pixels], isClosed=True, color=1)
        cv2.fillPoly(raster, [pixels], 1)
    return widened(np.asarray(raster.reshape(shape[0], CELL, shape[1], CELL).any(axis=(1, 3))))


class AttentiveSampler:
    """Selects the frames to analyse by what moves; like `FrameSampler`, by capture time alone.

    Args:
        rates: of the camera.
        phase: offset of the cells within a period, 0..1; see `sampling.grid_phase`.
        unknown: while there is no background to compare with; `NEW` misses nothing that somebody
            who has one analyses.
    """

    def __init__(
        self, rates: Rates, phase: float = 0.0, unknown: Urgency = Urgency.TRACKED
    ) -> None:
        self.skipped: Counter[Skip] = Counter()
        self.urgency = unknown
        self._attention = Attention(unknown)
        self._rates = rates
        self._phase = phase
        self._offered_us: int | None = None
        self._quiet_us: list[int] = []
        self._owed = False
        self._busy = False

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        self._attention.set_rules(rules)

    def begin_after(self, capture_us: int) -> None:
        """The frame before the first one was captured then; it is not looked at."""
        self._offered_us = capture_us

    def offer(self, capture_us: int, luma: Callable[[], Luma]) -> bool:
        """Whether to analyse the frame captured at `capture_us` (UTC microseconds), and why
        (`urgency`); if so, call `done` afterwards.

        Args:
            luma: called where the frame may be worth it, at most `detect_fps_max` times a second;
                gives `movement.small_luma` of it.
        """
        if capture_us <= 0:
            return self._skip(Skip.UNSTAMPED)
        before_us = self._offered_us
        if before_us is not None and capture_us <= before_us:
            if before_us - capture_us < JUMP_US:
                return self._skip(Skip.OLD)
            before_us, self._quiet_us = None, []
        self._offered_us = capture_us
        if not self._begins(None, before_us, capture_us):
            if not self._owed:
                return self._skip(Skip.RATE)
        else:
            self.urgency = self._attention.observe(capture_us, luma())
        if not (self._owed or self._begins(self.urgency, before_us, capture_us)):
            quiet = self.urgency is Urgency.HEARTBEAT
            if quiet and self._begins(Urgency.TRACKED, before_us, capture_us):
                self._note_quiet(capture_us)
            return self._skip(Skip.QUIET if quiet else Skip.RATE)
        if self._busy:
            self._owed = True
            return self._skip(Skip.BUSY)
        self._busy, self._owed = True, False
        return True

    def done(self) -> None:
        """The frame in flight was processed, or failed."""
        self._busy = False

    def owe(self) -> None:
        """The frame in flight was not analysed: the next one is due."""
        self._owed = True

    def learn(self, at_us: int, detections: Detections, size: tuple[int, int]) -> None:
        """What was found in an analysed frame; see `Attention.learn`."""
        self._attention.learn(at_us, detections, size)

    def take_quiet(self) -> tuple[int, ...]:
        """Capture times, since the last call, of frames in which nothing moved."""
        quiet, self._quiet_us = tuple(self._quiet_us), []
        return quiet

    def _begins(self, urgency: Urgency | None, before_us: int | None, capture_us: int) -> bool:
        """Whether this frame is the first of a cell at the rate for this urgency, or frames come
        so slowly that each of them counts (`NEAR_RATE`)."""
        if before_us is None:
            return True
        rates, phase = self._rates, self._phase
        if rates.cell(capture_us, phase, urgency) != rates.cell(before_us, phase, urgency):
            return True
        return (capture_us - before_us) * NEAR_RATE >= rates.interval_us(urgency)

    def _note_quiet(self, capture_us: int) -> None:
        if len(self._quiet_us) < self._rates.beat:
            self._quiet_us.append(capture_us)

    def _skip(self, cause: Skip) -> bool:
        self.skipped[cause] += 1
        return False
