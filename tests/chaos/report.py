"""The table of a chaos run."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from tests.chaos.figures import Tally, percentile


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Attributes:
        covered_s: until the last viewer had boxes again; None: not within the time given.
    """

    part: str
    covered_s: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    kills: tuple[Kill, ...]
    alarms: Tally

    def complaints(self) -> list[str]:
        """What a run must not show; empty where all is well."""
        alarms = self.alarms
        return [
            *(f"not covered again: {kill.part}" for kill in self.kills if kill.covered_s is None),
            *(f"lost: {one.camera} {one.rule} at {one.at_s:.2f}" for one in alarms.lost),
            *(f"doubled: {one.camera} {one.rule} {one.id}" for one in alarms.doubled),
        ]


def table(outcome: Outcome) -> Table:
    """Kills, median and 95th percentile to covered, per part; the alarms of the run below."""
    shown = Table("part", "kills", "median s", "p95 s", "worst s", "not back")
    for part in sorted({kill.part for kill in outcome.kills}):
        every = [kill for kill in outcome.kills if kill.part == part]
        times = [kill.covered_s for kill in every if kill.covered_s is not None]
        figures = (
            (f"{percentile(times, share):.1f}" for share in (0.5, 0.95, 1.0))
            if times
            else ("-", "-", "-")
        )
        shown.add_row(part, str(len(every)), *figures, str(len(every) - len(times)))
    alarms = outcome.alarms
    shown.caption = (
        f"alarms: {alarms.expected} expected, {len(alarms.lost)} lost, "
        f"{len(alarms.doubled)} doubled; {alarms.blind} fell into a blind time, "
        f"{len(alarms.unexpected)} came at no expected moment"
    )
    return shown
