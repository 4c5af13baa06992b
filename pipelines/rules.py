"""Rules on tracked scenes: one evaluator per kind, its state explicit, its time the scene's.

What a rule says and when, in one place:

- *Believed*: an object counts once it is confirmed, of a wanted class, and both its steady
  confidence and that of the present frame reach `min_confidence` (the alarm shows this frame).
- *Edges are told when they happen or never.* An entry or a crossing while the rule is disarmed or
  cooling down is not told later. Only disbelief delays it: an object that is not believed yet at
  the border is told when it is, an entry as long as it is inside, a crossing within 2 s.
- *Conditions are told as soon as they may be.* Loitering or a full zone that lasts longer than the
  cooldown or begins before the schedule is told afterwards, for it still is so. Only armed time
  counts towards `seconds`.
- *Cooldown* is the rule's, thus the camera's: after an alarm the rule is silent for `cooldown_s`,
  whoever comes. A guard who was just sent to a place wants no second call for the second of a
  group of five; and one per track would be none at all where trackers switch ids. Silence is
  counted from the last alarm, not from the last suppressed one: steady traffic cannot silence a
  rule for ever.
- *Once per stay.* An object alarms once per stay, however often it is lost and found again; it
  stays until it is seen clear of the zone for 2 s, or is forgotten (`reappearance`).
- *What was there before has not entered*: what is inside when the rule is made; and what is inside
  when the camera comes up and stays in its place for 30 s. If it moves sooner, it is told then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar, assert_never

from pipelines.domain import (
    CountRule,
    LineCrossRule,
    LoiterRule,
    Rule,
    RuleBase,
    RuleKind,
    ZoneEntryRule,
    ZoneRule,
)
from pipelines.geometry import Point, upright
from pipelines.presence import Crossing, LineState, ZonePhase, ZoneState
from pipelines.schedule import is_armed
from pipelines.tracking import Observation, Scene

S = 1_000_000

R = TypeVar("R", bound=RuleBase)
Z = TypeVar("Z", bound=ZoneRule)

# A crossing waits this long for its object to be believed: confirmation takes 0.3 to 1 s.
PENDING_US = 2 * S

# What was in sight when the camera came up and has not moved for this long was there before. A
# person who stands moves by a third of their width sooner than that.
SETTLED_US = 30 * S

# Counted as still there for this long after it was seen last; detectors miss a standing person for
# some frames in a row. At low rates, two and a half frames instead.
HOLD_US = 1 * S
HOLD_FRAMES = 2.5


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule fired for an object of the present frame, the `episode`-th time (from 0)."""

    rule: RuleBase
    kind: RuleKind
    observation: Observation
    episode: int


class Episodes:
    """How often each rule fired, or would have, for each track. Outlives changes of the rule, so
    that a rule that was redrawn does not repeat the ids of its alarms.
    """

    def __init__(self) -> None:
        self._next: dict[str, dict[str, int]] = {}

    def take(self, rule: str, track: str) -> int:
        by_rule = self._next.setdefault(track, {})
        episode = by_rule.get(rule, 0)
        by_rule[rule] = episode + 1
        return episode

    def forget(self, tracks: Iterable[str]) -> None:
        for track in tracks:
            self._next.pop(track, None)

    def __len__(self) -> int:
        return len(self._next)


class Evaluator(ABC, Generic[R]):
    """State of one rule of one camera.

    Args:
        rule: what is wanted.
        known: keys of the tracks that exist when the rule is made.
        episodes: shared by all rules of the camera.
    """

    kind: ClassVar[RuleKind]

    def __init__(self, rule: R, known: frozenset[str], episodes: Episodes) -> None:
        self.rule: R = rule
        self._known = known
        self._episodes = episodes
        self._aspect = 0.0
        self._cooldown_until_us = 0

    def step(self, scene: Scene, hold_us: int) -> list[Firing]:
        """Take in the next scene; what the rule has to say about it."""
        if scene.aspect != self._aspect:
            self._aspect = scene.aspect
            self._reshape(scene.aspect)
        return self._step(scene, hold_us)

    @abstractmethod
    def _reshape(self, aspect: float) -> None:
        """The picture has another shape: bring zone or line into its upright coordinates."""

    @abstractmethod
    def _step(self, scene: Scene, hold_us: int) -> list[Firing]: ...

    @abstractmethod
    def forget(self, tracks: Iterable[str]) -> None:
        """Drop what is held about these tracks."""

    @abstractmethod
    def __len__(self) -> int:
        """Tracks that state is held about."""

    def _qualifies(self, seen: Observation) -> bool:
        wanted = not self.rule.classes or seen.track.label in self.rule.classes
        sure = min(seen.steady_confidence, seen.track.confidence) >= self.rule.min_confidence
        return seen.confirmed and wanted and sure

    def _armed(self, scene: Scene) -> bool:
        return is_armed(self.rule.schedule, scene.stamp.capture_us)

    def _cooling_down(self, scene: Scene) -> bool:
        return scene.scene_us < self._cooldown_until_us

    def _fire(self, seen: Observation, episode: int, scene: Scene) -> Firing:
        self._cooldown_until_us = scene.scene_us + round(self.rule.cooldown_s * S)
        return Firing(self.rule, self.kind, seen, episode)

    def _fire_edges(self, edges: list[Observation], scene: Scene) -> list[Firing]:
        """Number every edge; tell those that may be told now."""
        firings = []
        for seen in edges:
            episode = self._episodes.take(self.rule.id, seen.track.key)
            if not self._cooling_down(scene) and self._armed(scene):
                firings.append(self._fire(seen, episode, scene))
        return firings


@dataclass(slots=True)
class _Visit:
    """One object and the zone of one rule.

    Attributes:
        told: number of the stay that needs no telling any more.
        armed_from_us: since when it is inside with the rule armed (loiter).
        believed_us: when it was last believed inside, in its present stay (count).
    """

    state: ZoneState = field(default_factory=ZoneState)
    reported: int = 0
    armed_from_us: int | None = None
    qualified_us: int | None = None

    @property
    def unreported(self) -> bool:
        return self.state.phase is ZonePhase.INSIDE and self.reported != self.state.entries


class _ZoneEvaluator(Evaluator[Z]):
    """What the three kinds with a polygon share: one visit per track."""

    def __init__(self, rule: Z, known: frozenset[str], episodes: Episodes) -> None:
        super().__init__(rule, known, episodes)
        self._zone: tuple[Point, ...] = ()
        self._visits: dict[str, _Visit] = {}

    def _reshape(self, aspect: float) -> None:
        self._zone = tuple(upright(p, aspect) for p in self.rule.polygon)

    def forget(self, tracks: Iterable[str]) -> None:
        for track in tracks:
            self._visits.pop(track, None)

    def __len__(self) -> int:
        return len(self._visits)

    def _update_visit(self, seen: Observation, scene: Scene) -> _Visit:
        """The object's visit as of this frame."""
        visit = self._visits.get(seen.track.key)
        if visit is None:
            visit = self._visits[seen.track.key] = _Visit()
        foot = upright(seen.foot, scene.aspect)
        entered = visit.state.update(foot, seen.height, self._zone, scene.scene_us)
        if entered:
            visit.armed_from_us = visit.qualified_us = None
        return visit


class ZoneEntryEvaluator(_ZoneEvaluator[ZoneEntryRule]):
    """An edge: once per stay, when the object inside is first believed."""

    kind = RuleKind.ZONE_ENTRY

    def _step(self, scene: Scene, hold_us: int) -> list[Firing]:
        edges = []
        for seen in scene.seen:
            first = seen.track.key not in self._visits
            visit = self._update_visit(seen, scene)
            if first and seen.track.key in self._known:
                visit.reported = visit.state.entries
            if not visit.unreported or not self._qualifies(seen):
                continue
            if not seen.present_at_start:
                visit.reported = visit.state.entries
                edges.append(seen)
            elif scene.scene_us - visit.state.entered_us >= SETTLED_US:
                visit.reported = visit.state.entries
        return self._fire_edges(edges, scene)


class LoiterEvaluator(_ZoneEvaluator[LoiterRule]):
    """A condition: inside for `seconds` of armed time. One alarm tells all who loiter by then."""

    kind = RuleKind.LOITER

    def _step(self, scene: Scene, hold_us: int) -> list[Firing]:
        armed = self._armed(scene)
        due: list[tuple[int, str, _Visit, Observation]] = []
        for seen in scene.seen:
            visit = self._update_visit(seen, scene)
            if not (armed and visit.state.inside):
                visit.armed_from_us = None
                continue
            if visit.armed_from_us is None:
                visit.armed_from_us = scene.scene_us
            long_enough = scene.scene_us - visit.armed_from_us >= self.rule.seconds * S
            if long_enough and visit.unreported and self._qualifies(seen):
                due.append((visit.armed_from_us, seen.track.key, visit, seen))
        due.sort(key=lambda item: item[:2])
        firings = []
        for _, key, visit, seen in due:
            # Where there is a cooldown, the first one's alarm tells of all; else each has its own.
            if not self._cooling_down(scene):
                firings.append(self._fire(seen, self._episodes.take(self.rule.id, key), scene))
            if firings:
                visit.reported = visit.state.entries
        return firings


class CountEvaluator(_ZoneEvaluator[CountRule]):
    """A condition of the zone: `n` believed objects inside for `seconds` of armed time.

    After an alarm the zone has to become emptier than `n` before it can fill again. A lost object
    that may come back keeps its place for that, but does not help to fill: a parked car that
    flickers neither fills a zone nor empties it. Only `n` others, after the zone looked emptier,
    fill it whatever became of those.
    """

    kind = RuleKind.COUNT

    def __init__(self, rule: CountRule, known: frozenset[str], episodes: Episodes) -> None:
        super().__init__(rule, known, episodes)
        self._full_since_us: int | None = None
        self._reported: frozenset[tuple[str, int]] | None = None
        self._was_below_n = False

    def _step(self, scene: Scene, hold_us: int) -> list[Firing]:
        now = scene.scene_us
        here: list[tuple[int, str, Observation]] = []
        for seen in scene.seen:
            visit = self._update_visit(seen, scene)
            if visit.state.inside and self._qualifies(seen):
                visit.qualified_us = now
                here.append((visit.state.entered_us, seen.track.key, seen))
        if not (self._full(now, hold_us) and self._armed(scene)):
            self._full_since_us = None
            return []
        if self._full_since_us is None:
            self._full_since_us = now
        long_enough = now - self._full_since_us >= self.rule.seconds * S
        if self._reported is not None or not long_enough or self._cooling_down(scene) or not here:
            return []
        self._reported = frozenset(self._occupants())
        self._was_below_n = False
        # The alarm names who came last: the one that filled the zone.
        _, key, seen = max(here, key=lambda item: item[:2])
        return [self._fire(seen, self._episodes.take(self.rule.id, key), scene)]

    def _occupants(self) -> dict[tuple[str, int], int]:
        """Stays in the zone, lost ones included, with when each was last believed."""
        return {
            (key, visit.state.entries): visit.qualified_us
            for key, visit in self._visits.items()
            if visit.state.inside and visit.qualified_us is not None
        }

    def _full(self, now_us: int, hold_us: int) -> bool:
        """Whether `n` are there now; forgets what was told once the zone has been emptier."""
        occupants = self._occupants()
        full = sum(now_us - seen_us <= hold_us for seen_us in occupants.values()) >= self.rule.n
        self._was_below_n = self._was_below_n or not full
        if self._reported is not None:
            others = occupants.keys() - self._reported
            refilled = self._was_below_n and len(others) >= self.rule.n
            if len(occupants) < self.rule.n or refilled:
                self._reported = None
        return full


@dataclass(slots=True)
class _LineTrack:
    """One object and the line of one rule.

    `pending_us`: when a crossing began to wait for belief.
    """

    state: LineState = field(default_factory=LineState)
    pending_us: int | None = None


class LineCrossEvaluator(Evaluator[LineCrossRule]):
    """An edge: each passage through the line in a wanted direction."""

    kind = RuleKind.LINE_CROSS

    def __init__(self, rule: LineCrossRule, known: frozenset[str], episodes: Episodes) -> None:
        super().__init__(rule, known, episodes)
        self._line: tuple[Point, Point] = ((0.0, 0.0), (0.0, 0.0))
        self._tracks: dict[str, _LineTrack] = {}

    def _reshape(self, aspect: float) -> None:
        a, b = self.rule.line
        self._line = (upright(a, aspect), upright(b, aspect))
        self._tracks.clear()  # paths in the old shape of the picture

    def forget(self, tracks: Iterable[str]) -> None:
        for track in tracks:
            self._tracks.pop(track, None)

    def __len__(self) -> int:
        return len(self._tracks)

    def _step(self, scene: Scene, hold_us: int) -> list[Firing]:
        edges = []
        for seen in scene.seen:
            track = self._tracks.get(seen.track.key)
            if track is None:
                track = self._tracks[seen.track.key] = _LineTrack()
            foot = upright(seen.foot, scene.aspect)
            crossing = track.state.update(foot, seen.height, *self._line)
            if crossing is not None and self._wanted(crossing):
                track.pending_us = scene.scene_us
            if track.pending_us is None:
                continue
            if self._qualifies(seen):
                track.pending_us = None
                edges.append(seen)
            elif scene.scene_us - track.pending_us > PENDING_US:
                track.pending_us = None
        return self._fire_edges(edges, scene)

    def _wanted(self, crossing: Crossing) -> bool:
        return self.rule.direction in ("any", crossing.value)


AnyEvaluator = ZoneEntryEvaluator | LineCrossEvaluator | LoiterEvaluator | CountEvaluator


def make_evaluator(rule: Rule, known: frozenset[str], episodes: Episodes) -> AnyEvaluator:
    match rule:
        case ZoneEntryRule():
            return ZoneEntryEvaluator(rule, known, episodes)
        case LineCrossRule():
            return LineCrossEvaluator(rule, known, episodes)
        case LoiterRule():
            return LoiterEvaluator(rule, known, episodes)
        case CountRule():
            return CountEvaluator(rule, known, episodes)
        case _:
            assert_never(rule)


class RuleBook:
    """All rules of one camera."""

    def __init__(self) -> None:
        self._episodes = Episodes()
        self._evaluators: dict[str, AnyEvaluator] = {}

    def apply(self, rules: tuple[Rule, ...], known: frozenset[str]) -> None:
        """Replace the rules. One that is equal to what it was keeps its state; any change starts
        it anew, because its state was reached under other terms.
        """
        kept: dict[str, AnyEvaluator] = {}
        for rule in rules:
            old = self._evaluators.get(rule.id)
            if old is not None and old.rule == rule:
                kept[rule.id] = old
            else:
                kept[rule.id] = make_evaluator(rule, known, self._episodes)
        self._evaluators = kept

    @property
    def episodes_held(self) -> int:
        return len(self._episodes)

    @property
    def tracks_held(self) -> int:
        """Tracks that some rule holds state about, counted per rule."""
        return sum(len(evaluator) for evaluator in self._evaluators.values())

    def step(self, scene: Scene, hold_us: int) -> list[Firing]:
        """Firings of all rules for this scene, in the order of the rules."""
        firings: list[Firing] = []
        for evaluator in self._evaluators.values():
            firings += evaluator.step(scene, hold_us)
            evaluator.forget(scene.forgotten)
        self._episodes.forget(scene.forgotten)
        return firings


def hold_us(detect_fps: float) -> int:
    """How long an object counts as present after it was seen last, at this rate."""
    return max(HOLD_US, round(HOLD_FRAMES / detect_fps * S))
