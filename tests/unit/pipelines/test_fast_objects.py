"""A person who crosses the picture fast is one track, and what rules see of them is an event.

5 frames/s, 60x180 px in 1280x720; boxes tremble, confidences vary, and one frame in ten misses.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from pipelines.domain import LineCrossRule, ZoneEntryRule
from pipelines.pipeline import CameraPipeline
from tests.unit.pipelines.world import SIZE, Thing, alarms, frames, keys, plan, run, walk

FPS = 5.0
MISSED = 0.1
EMPTY_S = 1.0
"""Before the person comes and after they have left."""

LINE = LineCrossRule(id="line", name="line", line=((0.5, 0.0), (0.5, 1.0)))
ZONE = ZoneEntryRule(
    id="zone", name="zone", polygon=((0.3, 0.5), (0.7, 0.5), (0.7, 1.0), (0.3, 1.0))
)


@dataclass(frozen=True)
class Outcome:
    """Of one crossing: its confirmed tracks, and how often each rule fired."""

    tracks: int
    line: int
    zone: int


def cross(seconds: float, seed: int, *, back: bool = False) -> Outcome:
    chance = random.Random(f"{seed}/{seconds}")
    # The first frame with the person falls anywhere within a period.
    begin_s = EMPTY_S + chance.random() / FPS
    ends = ((1.0, 0.8), (0.0, 0.8)) if back else ((0.0, 0.8), (1.0, 0.8))
    count = round((seconds + 2 * EMPTY_S) * FPS)
    found = [chance.random() >= MISSED for _ in range(count)]
    confidence = [min(0.95, max(0.25, chance.gauss(0.65, 0.12))) for _ in range(count)]
    person = Thing(
        walk(*ends, begin_s, begin_s + seconds),
        width=60 / SIZE[0],
        height=180 / SIZE[1],
        seen=lambda t: found[round(t * FPS)],
        confidence_at=lambda t: confidence[round(t * FPS)],
    )
    results = run(
        CameraPipeline(plan(LINE, ZONE, fps=FPS)),
        frames([person], count / FPS, FPS, noise=0.04),
    )
    fired = [alarm.rule for alarm in alarms(results)]
    return Outcome(len(keys(results)), fired.count("line"), fired.count("zone"))


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("seconds", [6.0, 4.0, 3.0, 2.0])
def test_a_crossing_is_one_track_and_one_event(seconds: float, back: bool) -> None:
    outcomes = [cross(seconds, seed, back=back) for seed in range(20)]
    assert outcomes == [Outcome(tracks=1, line=1, zone=1)] * 20
