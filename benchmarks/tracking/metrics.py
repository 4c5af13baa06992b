"""Scores of tracks against the truth: HOTA, IDF1 and identity switches as TrackEval defines them
(in `trackers.eval`), and whether a line's crossings were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv
from trackers.eval import (
    aggregate_clear_metrics,
    aggregate_hota_metrics,
    aggregate_identity_metrics,
    compute_clear_metrics,
    compute_hota_metrics,
    compute_identity_metrics,
)

from pipelines.domain import PixelBox
from pipelines.geometry import foot_point
from pipelines.presence import LineState

PENDING_US = 2_000_000
"""A rule waits for so long until an object that crossed is certain (`pipelines.rules`)."""
NEAR_S, NEAR_PX = 1.5, 150.0
"""A crossing that was found this close to a true one, in time and along the line, is that one."""


@dataclass(frozen=True, slots=True)
class Reported:
    """One tracked box. `certain`: shown and counted; otherwise only remembered."""

    number: int
    box: PixelBox
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Crossed:
    """A foot point that passed the middle of the picture, `at_px` down its line."""

    at_us: int
    at_px: float


Moment = tuple[int, Sequence[Reported]]
"""Time in microseconds, and what is there or was reported then."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of one scene, or of several together. Shares are 0..1."""

    hota: float
    detection: float
    association: float
    idf1: float
    switches: int
    crossings: int
    found: int
    invented: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One scene's raw values, to be aggregated."""

    hota: dict[str, Any]
    identity: dict[str, Any]
    clear: dict[str, Any]
    crossings: int
    found: int
    invented: int


def evaluate(
    truth: Sequence[Moment], reported: Sequence[Moment], size: tuple[int, int]
) -> Evaluation:
    """Compare tracks with the truth, frame by frame; both have the same moments."""
    shown = [[row for row in rows if row.certain] for _, rows in reported]
    there = [rows for _, rows in truth]
    ids = [_numbers(rows) for rows in there], [_numbers(rows) for rows in shown]
    overlaps = [
        sv.box_iou_batch(_boxes(a), _boxes(b)).astype(np.float64)
        for a, b in zip(there, shown, strict=True)
    ]
    real, seen = crossings(truth, size), crossings(reported, size)
    found = _pair(real, seen)
    return Evaluation(
        hota=compute_hota_metrics(*ids, overlaps),
        identity=compute_identity_metrics(*ids, overlaps),
        clear=compute_clear_metrics(*ids, overlaps),
        crossings=len(real),
        found=found,
        invented=len(seen) - found,
    )


def total(parts: Sequence[Evaluation]) -> Score:
    """The score of several scenes together."""
    hota = aggregate_hota_metrics([part.hota for part in parts])
    return Score(
        hota=hota["HOTA"],
        detection=hota["DetA"],
        association=hota["AssA"],
        idf1=aggregate_identity_metrics([part.identity for part in parts])["IDF1"],
        switches=aggregate_clear_metrics([part.clear for part in parts])["IDSW"],
        crossings=sum(part.crossings for part in parts),
        found=sum(part.found for part in parts),
        invented=sum(part.invented for part in parts),
    )


def crossings(moments: Sequence[Moment], size: tuple[int, int]) -> list[Crossed]:
    """Crossings of the picture's vertical middle, as a line rule counts them."""
    middle = size[0] / size[1] / 2
    line = ((middle, 0.0), (middle, 1.0))
    states: dict[int, LineState] = {}
    pending: dict[int, Crossed] = {}
    found = []
    for at_us, rows in moments:
        for row in rows:
            foot = foot_point(row.box)
            place, height = (foot[0] / size[1], foot[1] / size[1]), row.box[3] - row.box[1]
            state = states.setdefault(row.number, LineState())
            if state.update(place, height / size[1], *line) is not None:
                pending[row.number] = Crossed(at_us, foot[1])
            waits = pending.get(row.number)
            if waits is not None and row.certain and at_us - waits.at_us <= PENDING_US:
                found.append(pending.pop(row.number))
    return found


def _pair(real: Sequence[Crossed], seen: Sequence[Crossed]) -> int:
    """How many true crossings have one of those seen to themselves; nearest in time first."""
    options = sorted(
        (abs(a.at_us - b.at_us), i, j)
        for i, a in enumerate(real)
        for j, b in enumerate(seen)
        if abs(a.at_us - b.at_us) <= NEAR_S * 1e6 and abs(a.at_px - b.at_px) <= NEAR_PX
    )
    left, right = set(range(len(real))), set(range(len(seen)))
    for _, i, j in options:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
    return len(real) - len(left)


def _numbers(rows: Sequence[Reported]) -> npt.NDArray[np.int64]:
    return np.array([row.number for row in rows], dtype=np.int64)


def _boxes(rows: Sequence[Reported]) -> npt.NDArray[np.float64]:
    return np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4)
