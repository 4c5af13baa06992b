"""Gives what a job finds the keys and ids that it has already. Pure.

Live analysis, or another job, may have seen the same event in other frames; see
`pipelines.recognition`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cluster.batch.replay import Findings, RaisedAlarm, SeenObject
from pipelines.domain import Alarm, CameraKey, CountRule, LoiterRule, Rule, TrackPath
from pipelines.identity import alarm_id
from pipelines.recognition import (
    MAX_GAP_US,
    SAME_TIME_US,
    KnownTrack,
    Recognized,
    SameEvents,
    known_tracks,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is recorded of a camera around some time."""

    paths: Sequence[TrackPath] = ()
    alarms: Sequence[Alarm] = ()


class Span(NamedTuple):
    """From the first to the last moment, UTC microseconds."""

    from_us: int
    to_us: int

    def widened(self, by_us: int) -> Span:
        """The same with a margin on both sides."""
        return Span(self.from_us - by_us, self.to_us + by_us)


# Rules may count the seconds of a day. Who stays for longer than this and was lost meanwhile may
# raise two alarms.
MAX_WITHIN_US = 600_000_000
PATH_MARGIN_US = MAX_GAP_US


class Identities:
    """Of one job, for its findings in order of time."""

    def __init__(self, key: CameraKey, rules: Iterable[Rule]) -> None:
        self._key = key
        self._within_us = {rule.id: _within_us(rule) for rule in rules}
        self._tracks = Recognized()
        self._events = SameEvents()
        self._known: dict[str, KnownTrack] = {}

    @property
    def margin_us(self) -> int:
        """How far apart two alarms of one event may be."""
        return max([SAME_TIME_US, *self._within_us.values()])

    def span(self, findings: Findings) -> Span | None:
        """From the first to the last thing that was seen; None: nothing was."""
        times = [point.at_us for track in findings.tracks.values() for point in track.points]
        times += [raised.alarm.capture_us for raised in findings.alarms]
        return Span(min(times), max(times)) if times else None

    def named(self, findings: Findings, known: Known) -> Findings:
        """The findings, with the names of tracks and the ids of alarms that are known.

        Args:
            findings: of the range of frames after those of the call before.
            known: paths of the time of `span`, widened by `PATH_MARGIN_US`; alarms of the same,
                widened by `margin_us`.
        """
        tracks = known_tracks(known.paths)
        self._known = {track.key: track for track in tracks}
        seen = {key: (track.label, track.points) for key, track in findings.tracks.items()}
        self._tracks.recognize(seen, tracks)
        named = Findings(
            alarms=[self._named_alarm(raised, known.alarms) for raised in findings.alarms],
            objects=[self._named_object(seen) for seen in findings.objects],
            paths=[self._named_path(path) for path in findings.paths],
            tracks=findings.tracks,
            forgotten=findings.forgotten,
            analysed=findings.analysed,
        )
        span = self.span(findings)
        before_us = span.from_us - MAX_GAP_US if span is not None else 0
        self._tracks.forget(findings.forgotten, before_us)
        self._events.forget(before_us)
        return named

    def same(self, alarm: Alarm, earlier: Iterable[Alarm]) -> Alarm | None:
        """The known alarm of the same event, which from then on is taken; None: it is new."""
        within_us = self._within_us.get(alarm.rule, SAME_TIME_US)
        return self._events.known(alarm, earlier, self._known, within_us=within_us)

    def take(self, alarms: Iterable[Alarm]) -> None:
        """Alarms that this job has recorded: no other event of it is the same."""
        self._events.take(alarms)

    def _named_alarm(self, raised: RaisedAlarm, earlier: Iterable[Alarm]) -> RaisedAlarm:
        alarm = renamed(raised.alarm, self._key, self._tracks.name(raised.alarm.track))
        known = self.same(alarm, earlier)
        if known is not None:
            alarm = alarm.model_copy(update={"id": known.id, "track": known.track})
        return replace(raised, alarm=alarm)

    def _named_object(self, seen: SeenObject) -> SeenObject:
        track = self._tracks.name(seen.sighting.track)
        return replace(seen, sighting=seen.sighting.model_copy(update={"track": track}))

    def _named_path(self, path: TrackPath) -> TrackPath:
        return path.model_copy(update={"track": self._tracks.name(path.track)})


def renamed(alarm: Alarm, key: CameraKey, track: str) -> Alarm:
    """The alarm as one of another track."""
    if track == alarm.track:
        return alarm
    id = alarm_id(key, alarm.rule, track, alarm.episode)
    return alarm.model_copy(update={"track": track, "id": id})


def _within_us(rule: Rule) -> int:
    """Rules that count seconds begin anew where the other analysis lost the object."""
    seconds = rule.seconds if isinstance(rule, LoiterRule | CountRule) else 0
    return SAME_TIME_US + min(round(seconds * 1_000_000), MAX_WITHIN_US)
