"""What may be removed, and when: policy, legal holds, and the order in which space is made. Pure.

Times are UTC microseconds. The age of a thing counts from its end: an alarm's moment, the last
sight of an object, the end of a file. A hold keeps everything that it touches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from pipelines.domain.base import Frozen, Slug
from pipelines.domain.cameras import MAX_POST_ROLL_S, MAX_PRE_ROLL_S
from pipelines.errors import InputError

DAY_US = 86_400_000_000
MAX_DAYS = 36_500
MAX_CAMERAS = 2_000
"""Cameras with limits of their own, in one policy."""

EARLIEST_US, LATEST_US = -(2**62), 2**62
"""Beyond every time that can occur, and still numbers that each database takes."""

EVENT_BEFORE_US, EVENT_AFTER_US = MAX_PRE_ROLL_S * 1_000_000, MAX_POST_ROLL_S * 1_000_000
"""What is this long before an alarm, or after it, may belong to it, whatever its camera's rolls
were when it was recorded."""
CLIP_MARGIN_US = 60_000_000
"""A clip begins at a key frame, so before the time that was asked for. Cameras send one every 1 to
4 s; files from elsewhere may have fewer."""

Days = Annotated[float, Field(gt=0, le=MAX_DAYS)]


class RetentionKind(StrEnum):
    """What is kept for a time of its own. The audit log is not among them: it is always kept."""

    ALARMS = "alarms"
    SNAPSHOTS = "snapshots"
    """Pictures of alarms and of objects."""
    CLIPS = "clips"
    RECORDINGS = "recordings"
    OBJECTS = "objects"
    PATHS = "paths"
    EMBEDDINGS = "embeddings"
    EXPORTS = "exports"
    """Manifests of exports; the exports themselves are not kept."""
    COVERAGE = "coverage"
    """When cameras were analysed, and when and why they were blind."""


Limits = dict[RetentionKind, Days | None]
"""Days by kind; None: without end. A kind that is absent has the limit of the next level."""

_OWNERS = {
    RetentionKind.CLIPS: RetentionKind.ALARMS,
    RetentionKind.EMBEDDINGS: RetentionKind.OBJECTS,
}
"""What goes with its owner, so that it is never kept for longer."""

_DEPENDENTS = {
    RetentionKind.ALARMS: (RetentionKind.CLIPS, RetentionKind.SNAPSHOTS),
    RetentionKind.OBJECTS: (RetentionKind.EMBEDDINGS, RetentionKind.SNAPSHOTS),
}
"""What goes with a kind, so that the least of each is a least of that kind, too."""


class RetentionPolicy(Frozen):
    """A tenant's own limits.

    Attributes:
        days: of all cameras.
        cameras: of single cameras, where they differ.
    """

    days: Limits = Field(default_factory=dict)
    cameras: Annotated[dict[Slug, Limits], Field(max_length=MAX_CAMERAS)] = Field(
        default_factory=dict
    )


class PlatformLimits(Frozen):
    """What the platform prescribes.

    Attributes:
        default: where a tenant says nothing.
        least, most: between which a tenant may choose; absent or None: no bound.
    """

    default: Limits = Field(default_factory=dict)
    least: Limits = Field(default_factory=dict)
    most: Limits = Field(default_factory=dict)

    def least_of(self, kind: RetentionKind) -> Days | None:
        """The least that may be chosen for a kind: also that of all that goes with it."""
        kinds = (kind, *_DEPENDENTS.get(kind, ()))
        return max((days for k in kinds if (days := self.least.get(k)) is not None), default=None)

    def check(self, policy: RetentionPolicy) -> None:
        """Raises InputError: a limit of the policy lies outside the bounds."""
        for where, limits in [("days", policy.days), *sorted(policy.cameras.items())]:
            for kind, days in limits.items():
                if self._bounded(kind, days) != days:
                    raise InputError(
                        f"{where}: {kind.value} may not be kept {_in_words(days)}.",
                        hint=f"This installation allows {self._in_words(kind)}.",
                    )

    def _bounded(self, kind: RetentionKind, days: Days | None) -> Days | None:
        least, most = self.least_of(kind), self.most.get(kind)
        if most is not None and (days is None or days > most):
            days = most
        return days if days is None or least is None else max(days, least)

    def _in_words(self, kind: RetentionKind) -> str:
        least, most = self.least_of(kind), self.most.get(kind)
        parts = [f"at least {least:g} days"] if least is not None else []
        return " and ".join(parts + ([f"at most {most:g} days"] if most is not None else []))


def _in_words(days: Days | None) -> str:
    return "without end" if days is None else f"for {days:g} days"


@dataclass(frozen=True, slots=True)
class Retention:
    """What applies to one tenant: its policy within the platform's limits."""

    policy: RetentionPolicy
    platform: PlatformLimits

    def days(self, kind: RetentionKind, camera: str | None = None) -> Days | None:
        """How long things of a kind are kept; None: without end.

        Args:
            camera: None: of all cameras without limits of their own.
        """
        own = self._own(kind, camera)
        owner = _OWNERS.get(kind)
        if owner is None:
            return own
        return shorter(own, self._own(owner, camera))

    def picture_days(self, owner: RetentionKind, camera: str | None = None) -> Days | None:
        """How long the pictures of alarms, or of objects, are kept: never longer than those."""
        return shorter(self.days(RetentionKind.SNAPSHOTS, camera), self.days(owner, camera))

    def _own(self, kind: RetentionKind, camera: str | None) -> Days | None:
        """Without regard to the owner. Bounds apply here, too: they may be newer than a policy."""
        levels = (
            self.policy.cameras.get(camera, {}) if camera is not None else {},
            self.policy.days,
            self.platform.default,
        )
        days = next((limits[kind] for limits in levels if kind in limits), None)
        return self.platform._bounded(kind, days)


def shorter(one: Days | None, other: Days | None) -> Days | None:
    """The shorter of two limits."""
    known = [days for days in (one, other) if days is not None]
    return min(known) if known else None


def cutoff_us(now_us: int, days: Days | None) -> int | None:
    """What ended before this has reached its age; None: nothing ever does."""
    return None if days is None else now_us - round(days * DAY_US)


# ------------------------------------------------------------ holds


class HeldSpan(NamedTuple):
    """What a legal hold keeps: everything of a camera that touches the time, both ends included.

    Attributes:
        camera: None: of every camera.
    """

    camera: str | None
    from_us: int
    to_us: int


class Window(NamedTuple):
    """Time in which nothing is held: what begins at or after `from_us` and ends before `until_us`
    may go."""

    from_us: int
    until_us: int


def windows(until_us: int, holds: Iterable[HeldSpan], camera: str) -> list[Window]:
    """The time before `until_us` that no hold keeps of a camera, oldest first."""
    found = []
    from_us = EARLIEST_US
    kept = sorted((h.from_us, h.to_us) for h in holds if _applies(h, camera))
    for held_from_us, held_to_us in kept:
        if held_from_us >= until_us:
            break
        if held_from_us > from_us:
            found.append(Window(from_us, held_from_us))
        from_us = max(from_us, held_to_us + 1)
    if from_us < until_us:
        found.append(Window(from_us, until_us))
    return found


def _applies(hold: HeldSpan, camera: str) -> bool:
    return hold.camera is None or camera in ("", hold.camera)


def around_alarm(at_us: int) -> tuple[int, int]:
    """First and last moment that may belong to an alarm, whatever its camera's rolls were."""
    return at_us - EVENT_BEFORE_US, at_us + EVENT_AFTER_US


def clip_bounds(at_us: int) -> tuple[int, int]:
    """First and last moment that the clip of an alarm can show."""
    from_us, to_us = around_alarm(at_us)
    return from_us - CLIP_MARGIN_US, to_us + CLIP_MARGIN_US


def is_held(start_us: int, end_us: int, holds: Iterable[HeldSpan], camera: str) -> bool:
    """Whether a hold keeps a thing of a camera.

    Args:
        camera: empty: it is not known whose the thing is, so that a hold on any camera keeps it.
    """
    return any(
        _applies(hold, camera) and start_us <= hold.to_us and end_us >= hold.from_us
        for hold in holds
    )


# ------------------------------------------------------------ space


class SpaceStage(StrEnum):
    """What goes to make space, in this order; each oldest first, over all tenants. Rows, pictures
    and manifests never do: all of them together are small beside recordings."""

    RECORDINGS_WITHOUT_ALARM = "recordings_without_alarm"
    RECORDINGS_WITH_ALARM = "recordings_with_alarm"
    CLIPS = "clips"


class SpaceState(StrEnum):
    """State of the disk.

    `removing`: it was above its mark, and what policy would keep is being removed. `exhausted`: it
    is above its mark, and there is nothing left that may be removed.
    """

    OK = "ok"
    REMOVING = "removing"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of the storage: used, and all that there are."""

    used: int
    total: int

    @property
    def fraction(self) -> float:
        return self.used / self.total if self.total else 0.0

    def excess(self, mark: float) -> int:
        """Bytes above a mark, which is a fraction of all; 0 if there are none."""
        return max(0, self.used - int(self.total * mark))


class Candidate(NamedTuple):
    """A thing that may go to make space. Sorts by its end, oldest first."""

    end_us: int
    tenant: str
    camera: str
    start_us: int
    size: int
    key: str
    """Of its file in the tenant's storage."""


def oldest_worth(lists: Iterable[Sequence[Candidate]], need: int, length: int) -> list[Candidate]:
    """The oldest candidates of all lists that together have `need` bytes, or as many as are known
    to be the oldest.

    Args:
        lists: each in order, and cut off at `length`: of one that is as long there may be more,
            so that nothing younger than its last is chosen.
    """
    known = [list(candidates) for candidates in lists]
    horizon_us = min((c[-1].end_us for c in known if len(c) >= length), default=LATEST_US)
    chosen: list[Candidate] = []
    for candidate in sorted(c for candidates in known for c in candidates):
        if need <= 0 or candidate.end_us > horizon_us:
            break
        chosen.append(candidate)
        need -= candidate.size
    return chosen
