"""How long live alarms take from capture to the records, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.clock import Clock
from pipelines.domain import Alarm, AlarmSource, RuleKind

STAGE_BOUNDS_MS = [2.0, 5, 10, 20, 40, 60, 80, 120, 160, 200, 300, 500, 1_000, 3_000, 10_000]
"""Around the aims: 120 ms at four cameras, 200 at twenty."""


class AlarmLatency:
    """Tells the stages of each live alarm that a rule raised.

    Jobs look at old frames, and what Atalaia says about a camera has no frame: neither counts.

    Args:
        observe: told the stage, one of `Stages.spent_ms` or `record` (from the alarm stream to the
            records), and its milliseconds. `total` ends with the records, not with the stream.
    """

    def __init__(self, clock: Clock, observe: Callable[[str, float], None]) -> None:
        self._clock = clock
        self._observe = observe

    def add(self, alarms: Sequence[Alarm]) -> None:
        """Tell the stages of alarms that were recorded just now."""
        now_us = self._clock.now_us()
        for alarm in alarms:
            stages = alarm.stages
            if alarm.source is not AlarmSource.LIVE or not isinstance(alarm.kind, RuleKind):
                continue
            if not stages.published_us:
                continue
            spent = stages.spent_ms()
            spent["record"] = (now_us - stages.published_us) / 1_000
            spent["total"] += spent["record"]
            for stage, ms in spent.items():
                self._observe(stage, ms)
