"""How long a camera was analysed and how long it was blind, and why: stretches of time. Pure.

What is known of a moment may be told twice, late, and in any order: stretches are merged by rank,
so that the outcome is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from pipelines.domain.faults import Fault

SLOT_US = 900_000_000
"""A quarter of an hour, of which the records are made: the days of every time zone consist of
whole ones, also those of 23 and 25 hours."""
MAX_STRETCHES = 240
"""Of one camera in one slot. Beyond, the slot is told in cells of 3.75 s."""
HORIZON_US = 7_200_000_000
"""Reports reach back so far: the records have what is older, or nobody observed it. Two hours are
eight slots to write per camera after a restart of the controller."""
_MS = 1_000


class Cover(StrEnum):
    """What a camera was at one moment, weakest statement first: of two statements about the same
    moment the later one in this list holds."""

    UNOBSERVED = "unobserved"
    """Nobody looked after the camera: the controller was away."""
    CONNECTING = "connecting"
    """The connection to it was being made."""
    WATCHER = "watcher"
    """Its video was there, and no watcher or no frame of it."""
    DETECTOR = "detector"
    """Frames reached the watcher, and the detector did not answer."""
    ROOM = "room"
    """Its live room could not be reached."""
    CAMERA = "camera"
    """It could not be read: away, refused, or set up wrongly."""
    OFF = "off"
    """Its tenant had switched it off: not expected to be analysed."""
    ANALYSED = "analysed"
    BLURRED = "blurred"
    FROZEN = "frozen"
    COVERED = "covered"
    GLARE = "glare"
    BLACK = "black"
    """These five were analysed, and nothing could be seen (`pipelines.sight`)."""

    @property
    def blind(self) -> bool:
        """Whether it should have been analysed, and was not."""
        return self not in (Cover.OFF, Cover.ANALYSED)


_RANK = {cover: rank for rank, cover in enumerate(Cover)}


class Stretch(NamedTuple):
    """A time in which one thing holds; UTC microseconds, the end is not included."""

    start_us: int
    end_us: int
    cover: Cover


def merge(one: Sequence[Stretch], other: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """Both statements in one. Commutative, associative and idempotent.

    Args:
        one, other: each in order, without overlaps.
    """
    cuts = sorted({at for s in (*one, *other) for at in (s.start_us, s.end_us)})
    merged: list[Stretch] = []
    first = second = 0
    for start_us, end_us in pairwise(cuts):
        while first < len(one) and one[first].end_us <= start_us:
            first += 1
        while second < len(other) and other[second].end_us <= start_us:
            second += 1
        told = [
            s.cover
            for s in (*one[first : first + 1], *other[second : second + 1])
            if s.start_us <= start_us
        ]
        if told:
            _append(merged, Stretch(start_us, end_us, max(told, key=_RANK.__getitem__)))
    return tuple(merged)


def merge_all(told: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Statements in any order, which may overlap, as one."""
    merged: tuple[Stretch, ...] = ()
    for stretch in told:
        if stretch.end_us > stretch.start_us:
            merged = merge(merged, (stretch,))
    return merged


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches in order, with neighbours of the same kind as one."""
    found: list[Stretch] = []
    for stretch in stretches:
        _append(found, stretch)
    return found


def by_slot(stretches: Iterable[Stretch]) -> dict[int, list[Stretch]]:
    """The parts of stretches by the start of the slot in which they lie."""
    found: dict[int, list[Stretch]] = {}
    for start_us, end_us, cover in stretches:
        while start_us < end_us:
            slot_us = slot_of(start_us)
            cut_us = min(end_us, slot_us + SLOT_US)
            found.setdefault(slot_us, []).append(Stretch(start_us, cut_us, cover))
            start_us = cut_us
    return found


def slot_of(at_us: int) -> int:
    """The start of the slot that contains a time."""
    return at_us // SLOT_US * SLOT_US


def bounded(slot_us: int, stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """The stretches of one slot, at most MAX_STRETCHES of them: where there are more, what filled
    most of each cell stands for the cell."""
    if len(stretches) <= MAX_STRETCHES:
        return tuple(stretches)
    cell_us = SLOT_US // MAX_STRETCHES
    spent: dict[int, dict[Cover, int]] = {}
    for start_us, end_us, cover in stretches:
        for cell in range((start_us - slot_us) // cell_us, -((slot_us - end_us) // cell_us)):
            from_us = slot_us + cell * cell_us
            inside = min(end_us, from_us + cell_us) - max(start_us, from_us)
            of_cell = spent.setdefault(cell, {})
            of_cell[cover] = of_cell.get(cover, 0) + inside
    cells = (
        Stretch(
            slot_us + cell * cell_us,
            slot_us + (cell + 1) * cell_us,
            max(shares, key=lambda cover: (shares[cover], _RANK[cover])),
        )
        for cell, shares in sorted(spent.items())
    )
    return tuple(joined(cells))


def _append(found: list[Stretch], stretch: Stretch) -> None:
    if found and found[-1].end_us == stretch.start_us and found[-1].cover is stretch.cover:
        found[-1] = found[-1]._replace(end_us=stretch.end_us)
    else:
        found.append(stretch)


# ------------------------------------------------------------ unbroken analysis


class Run:
    """The present run of analysed frames without a gap. One thread.

    A gap is what is longer than both `MIN_GAP_S` and `GAP_FRAMES` frames at the wanted rate: a
    frame that is dropped on a busy machine makes no camera blind.
    """

    MIN_GAP_S = 2.0
    GAP_FRAMES = 3

    def __init__(self) -> None:
        self.from_us = 0
        self._last_us = 0

    def step(self, capture_us: int, fps: float) -> None:
        """A frame was analysed. Args: `fps`: frames that are to be analysed per second."""
        gap_us = round(max(self.MIN_GAP_S, self.GAP_FRAMES / fps) * 1e6)
        if not 0 <= capture_us - self._last_us <= gap_us:
            self.from_us = capture_us
        self._last_us = capture_us


# ------------------------------------------------------------ from reports to statements


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """What the controller sees of one camera in one round.

    Attributes:
        now_us: of the round, UTC microseconds.
        blind: why it is not analysed, or OFF; None: it is analysed.
        run: capture times of the first and last frame of its present run of analysed frames, UTC
            microseconds; None: no watcher reports one.
        fault: why nothing can be seen in what is analysed, and since when.
        picture: what is wrong with its picture, whether or not that blinds it.
    """

    now_us: int
    blind: Cover | None
    run: tuple[int, int] | None = None
    fault: tuple[Cover, int] | None = None
    picture: Fault | None = None

    @property
    def cause(self) -> Cover | None:
        """Why it is blind now, or OFF; None: it sees."""
        return self.blind or (self.fault[0] if self.fault is not None else None)


# What was told before and is told again, so that nothing between two reports is missed.
_OVERLAP_US = round(Run.MIN_GAP_S * 1e6)


class CameraLedger:
    """Turns the reports of one camera into statements. One thread.

    Attributes:
        first_us: time from which on it makes statements.
        known_us: time until which it made them.
        blind_since_us: from when on it has been blind without a pause; None: it sees, or is off.
        seen: whether it has not been blind all the time since the first report.
    """

    def __init__(self) -> None:
        self.first_us = 0
        self.known_us = 0
        self.blind_since_us: int | None = None
        self.seen = False
        self._cause = Cover.WATCHER
        self._fault: tuple[Cover, int] | None = None

    def observe(self, report: CoverageReport) -> list[Stretch]:
        """What a report adds, in whole milliseconds and in order.

        The end of an analysed time is its last analysed frame: what follows is told by the next
        report, as analysed if the run goes on, else with its cause.
        """
        now_us, run = report.now_us, self._clipped(report)
        cause = report.blind or self._cause
        until_us = now_us if report.blind is not None or run is None else run[1]
        if not self.known_us:
            self.first_us = self.known_us = run[0] if run is not None else now_us
        self._note_blindness(report)
        told = []
        if until_us > self.known_us:
            told.append(Stretch(_ms(self.known_us), _ms(until_us), cause))
        if run is not None:
            told.append(Stretch(_ms(run[0]), _ms(run[1]), Cover.ANALYSED))
            told += self._of_fault(report, run[1])
        self._fault = report.fault
        self.known_us = max(self.known_us, until_us)
        # What interrupts it from now on without being seen is over before the next round.
        self._cause = report.blind or Cover.WATCHER
        return list(merge_all(told))

    def _note_blindness(self, report: CoverageReport) -> None:
        cause = report.cause
        if cause is None or not cause.blind:
            self.blind_since_us, self.seen = None, True
        elif self.blind_since_us is None:
            known_us = self.known_us or report.now_us
            self.blind_since_us = report.fault[1] if report.fault is not None else known_us

    def _of_fault(self, report: CoverageReport, until_us: int) -> list[Stretch]:
        """A new fault is told from its begin, which is earlier than it was known."""
        if report.fault is None:
            return []
        cover, since_us = report.fault
        if report.fault == self._fault:
            since_us = self.known_us - _OVERLAP_US
        since_us = max(since_us, report.fault[1], report.now_us - HORIZON_US)
        return [Stretch(_ms(since_us), _ms(until_us), cover)] if since_us < until_us else []

    def _clipped(self, report: CoverageReport) -> tuple[int, int] | None:
        """The run, without what was told before, what is too old, and what is of the future."""
        if report.run is None:
            return None
        first_us, last_us = report.run
        last_us = min(last_us, report.now_us)
        oldest_us = max(report.now_us - HORIZON_US, first_us)
        if self.known_us:
            # A run that began before is told from where it was known; a little more does no harm.
            oldest_us = max(oldest_us, self.known_us - _OVERLAP_US)
        return (oldest_us, last_us) if oldest_us <= last_us else None


def _ms(at_us: int) -> int:
    return at_us // _MS * _MS
