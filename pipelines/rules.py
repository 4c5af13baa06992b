"""Rule evaluation on tracked scenes: one evaluator per kind, with explicit state, in scene time.

When a rule raises an alarm:

- *Qualification*: an object counts once it is confirmed, of a wanted class, and both its steady
  confidence and that of the current frame reach `min_confidence` (the alarm shows this frame).
- *Edges fire when they happen or never.* An entry or a crossing while the rule is disarmed or in
  cooldown does not fire later. Only qualification can delay it: an object that does not yet qualify
  at the border fires once it does, an entry as long as it is inside, a crossing within 2 s.
- *Conditions fire as soon as possible.* Loitering or a full zone that outlasts the cooldown, or
  begins before the schedule, fires afterwards, because it still holds. Only armed time counts
  towards `seconds`.
- *Cooldown* is per rule and thus per camera: after an alarm the rule is silent for `cooldown_s`,
  whichever object follows. A guard who was just sent to a place needs no second call for the second
  of a group of five; and a cooldown per track would have no effect when trackers switch ids. It
  starts at the last alarm, not at the last suppressed one: steady traffic cannot silence a rule
  forever.
- *Once per stay.* An object fires once per stay, however often it is lost and found again. A stay
  lasts until the object is seen clear of the zone for 2 s, or is forgotten (`reappearance`).
- *Objects that were already there have not entered*: those inside when the rule is created, and
  those inside when the camera starts that remain in place for 30 s. If one moves sooner, it fires
  then.
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
"""Microseconds per second."""

R = TypeVar("R", bound=RuleBase)
Z = TypeVar("Z", bound=ZoneRule)

# How long a crossing waits for its object to qualify: confirmation takes 0.3 to 1 s.
PENDING_US = 2 * S

# An object in sight when the camera started that has not moved for this long was already there. A
# standing person moves by a third of their width sooner than that.
SETTLED_US = 30 * S

# An object counts as present for this long after its last detection: detectors miss a standing
# person for some consecutive frames. At low rates, two and a half frames instead.
HOLD_US = 1 * S
HOLD_FRAMES = 2.5


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule fired for an object in the current frame, for the `episode`-th time (from 0)."""

    rule: RuleBase
    kind: RuleKind
    observation: Observation
    episode: int


class Episodes:
    """Counts how often each rule fired, or would have, for each track. Survives changes of a rule,
    so that an edited rule does not reuse the ids of its alarms.
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
        rule: the rule to evaluate.
        known: keys of the tracks that exist when the rule is created.
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
        """Evaluate the next scene; returns the rule's firings."""
        if scene.aspect != self._aspect:
            self._aspect = scene.aspect
            self._reshape(scene.aspect)
        return self._step(scene, hold_us)

    @abstractmethod
    def _reshape(self, aspect: float) -> None:
        """The aspect ratio changed: convert zone or line to the new upright coordinates."""

    @abstractmethod
    def _step(self, scene: Scene, hold_us: int) -> list[Firing]: ...

    @abstractmethod
    def forget(self, tracks: Iterable[str]) -> None:
        """Drop the state of these tracks."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of tracks with state."""

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
        """Number every edge; fire for those that are allowed to now."""
        firings = []
        for seen in edges:
            episode = self._episodes.take(self.rule.id, seen.track.key)
            if not self._cooling_down(scene) and self._armed(scene):
                firings.append(self._fire(seen, episode, scene))
        return firings


@dataclass(slots=True)
class _Visit:
    """State of one object and the zone of one rule.

    Attributes:
        reported: number of the last stay that has been dealt with.
        armed_from_us: since when it has been inside with the rule armed (loiter).
        qualified_us: when it last qualified inside during its current stay (count).
    """

    state: ZoneState = field(default_factory=ZoneState)
    reported: int = 0
    armed_from_us: int | None = None
    qualified_us: int | None = None

    @property
    def unreported(self) -> bool:
        return self.state.phase is ZonePhase.INSIDE and self.reported != self.state.entries


class _ZoneEvaluator(Evaluator[Z]):
    """Base of the three kinds with a polygon: one visit per track."""

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
        """The object's visit, updated with this frame."""
        visit = self._visits.get(seen.track.key)
        if visit is None:
            visit = self._visits[seen.track.key] = _Visit()
        foot = upright(seen.foot, scene.aspect)
        entered = visit.state.update(foot, seen.height, self._zone, scene.scene_us)
        if entered:
            visit.armed_from_us = visit.qualified_us = None
        return visit


class ZoneEntryEvaluator(_ZoneEvaluator[ZoneEntryRule]):
    """An edge: once per stay, when the object inside first qualifies."""

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
    """A condition: inside for `seconds` of armed time. One alarm covers all who loiter by then."""

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
            # With a cooldown, the first one's alarm covers all; otherwise each has its own.
            if not self._cooling_down(scene):
                firings.append(self._fire(seen, self._episodes.take(self.rule.id, key), scene))
            if firings:
                visit.reported = visit.state.entries
        return firings


class CountEvaluator(_ZoneEvaluator[CountRule]):
    """A condition of the zone: `n` qualified objects inside for `seconds` of armed time.

    After an alarm, the zone must drop below `n` before it can fill again. A lost object that may
    return still counts as an occupant for that, but not towards filling: a flickering detection of
    a parked car neither fills nor empties a zone. However, `n` other objects, after fewer than `n`
    were seen, fill it regardless of the lost ones.
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
        # The alarm names the object that entered last and so filled the zone.
        _, key, seen = max(here, key=lambda item: item[:2])
        return [self._fire(seen, self._episodes.take(self.rule.id, key), scene)]

    def _occupants(self) -> dict[tuple[str, int], int]:
        """Current stays in the zone, including lost objects, with when each last qualified."""
        return {
            (key, visit.state.entries): visit.qualified_us
            for key, visit in self._visits.items()
            if visit.state.inside and visit.qualified_us is not None
        }

    def _full(self, now_us: int, hold_us: int) -> bool:
        """Whether `n` objects are present; re-arms once the zone has dropped below `n`."""
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
    """State of one object and the line of one rule.

    `pending_us`: since when a crossing has been waiting for its object to qualify.
    """

    state: LineState = field(default_factory=LineState)
    pending_us: int | None = None


class LineCrossEvaluator(Evaluator[LineCrossRule]):
    """An edge: each crossing of the line in a wanted direction, out of the picture as well."""

    kind = RuleKind.LINE_CROSS

    def __init__(self, rule: LineCrossRule, known: frozenset[str], episodes: Episodes) -> None:
        super().__init__(rule, known, episodes)
        self._line: tuple[Point, Point] = ((0.0, 0.0), (0.0, 0.0))
        self._tracks: dict[str, _LineTrack] = {}

    def _reshape(self, aspect: float) -> None:
        a, b = self.rule.line
        self._line = (upright(a, aspect), upright(b, aspect))
        self._tracks.clear()  # their positions have the old aspect ratio

    def forget(self, tracks: Iterable[str]) -> None:
        for track in tracks:
            self._tracks.pop(track, None)

    def __len__(self) -> int:
        return len(self._tracks)

    def _step(self, scene: Scene, hold_us: int) -> list[Firing]:
        edges = []
        for seen in (*scene.seen, *scene.left):
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
        """Replace the rules. An unchanged rule keeps its state; a changed one starts anew, because
        its state was reached under other conditions.
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
        """Number of tracks with state, summed over the rules."""
        return sum(len(evaluator) for evaluator in self._evaluators.values())

    def step(self, scene: Scene, hold_us: int) -> list[Firing]:
        """Evaluate all rules on this scene; returns their firings in the order of the rules."""
        firings: list[Firing] = []
        for evaluator in self._evaluators.values():
            firings += evaluator.step(scene, hold_us)
            evaluator.forget(scene.forgotten)
        self._episodes.forget(scene.forgotten)
        return firings


def hold_us(detect_fps: float) -> int:
    """How long an object counts as present after its last detection, at this rate."""
    return max(HOLD_US, round(HOLD_FRAMES / detect_fps * S))
