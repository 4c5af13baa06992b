"""What a caller may see of persons in evidence: the originals, or pictures in which they are
hidden.

Every route that shows recorded pictures asks here, and nowhere else. An original is shown where no
rule hides anything, or under a reveal of the caller's own; while that is unknown, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from cluster.clips.anonymous import Hiding
from cluster.clips.pictures import hide_in_jpeg
from cluster.core.roles import Permission, grants
from cluster.stores.db import AlarmQuery, Reveal
from cluster.stores.db.tracks import MAX_PATHS
from pipelines.anonymisation import (
    PAD_US,
    AnonymisationPolicy,
    HideRule,
    Persons,
    complete_until_us,
    persons_in,
)
from pipelines.domain import (
    PATH_CELL_US,
    Alarm,
    AlarmSource,
    AnalysedCell,
    Sighting,
    TrackPath,
)
from pipelines.errors import NotFoundError
from serve.api.audit.note import AuditNote, AuditNoteDep
from serve.api.media_links import Shows
from serve.api.permissions import PrincipalDep
from serve.api.scope import PICTURE_KEY, TenantDep, TenantScope
from serve.api.state import DepsDep

# What is read of the records at once: rows become objects on the event loop.
CHUNK_US = 60_000_000
MAX_ALARMS = 500
MAX_SIGHTINGS = 5_000
# Objects that came into sight earlier are known by their paths alone.
SIGHTED_WITHIN_US = 3_600_000_000
# The picture of an object that stayed longer, like a parked car, is not searched for persons.
MAX_CROP_US = 600_000_000


@dataclass(frozen=True, slots=True)
class Sight:
    """How one thing may be seen.

    Attributes:
        camera: whose picture it is; None: that is not known.
        rule: what is hidden; None: the original is shown.
        reveal: under which the original is shown, although a rule hides persons.
    """

    camera: str | None
    rule: HideRule | None = None
    reveal: Reveal | None = None

    @property
    def shows(self) -> Shows:
        """The same for a signed link."""
        return Shows(
            self.camera or "",
            self.rule.digest if self.rule is not None else "",
            str(self.reveal.id) if self.reveal is not None else "",
            self.reveal.expires_us // 1_000_000 if self.reveal is not None else None,
        )

    @property
    def cacheable(self) -> bool:
        """Whether a client may cache it. Not under a rule or a reveal: the picture changes once
        more persons are known, or when the reveal ends."""
        return self.rule is None and self.reveal is None


class Viewing:
    """What one caller may see now. Made per request.

    Args:
        reveals: the caller's own, active ones.
        note: gets the reveal under which something was shown.
    """

    def __init__(
        self, policy: AnonymisationPolicy, reveals: Sequence[Reveal], now_us: int, note: AuditNote
    ) -> None:
        self.policy = policy
        self.now_us = now_us
        self._reveals = [reveal for reveal in reveals if reveal.is_active(now_us)]
        self._note = note

    def of_alarm(self, alarm: Alarm) -> Sight:
        """The snapshot of an alarm."""
        return self._sight(alarm.camera, [r for r in self._reveals if r.shows_alarm(alarm)])

    def of_clip(self, alarm: Alarm, from_us: int, to_us: int) -> Sight:
        """The clip of an alarm."""
        shown = [
            reveal
            for reveal in self._reveals
            if reveal.alarm == alarm.id or reveal.shows(alarm.camera, from_us, to_us)
        ]
        return self._sight(alarm.camera, shown)

    def of_object(self, camera: str, track: str) -> Sight:
        """The picture of an object."""
        return self._sight(camera, [r for r in self._reveals if r.shows_object(camera, track)])

    def of_span(self, camera: str, from_us: int, to_us: int) -> Sight:
        """What one camera recorded between two times."""
        return self._sight(camera, [r for r in self._reveals if r.shows(camera, from_us, to_us)])

    def of_unknown(self) -> Sight:
        """A picture of which it is not known what it shows."""
        return Sight(None, self.policy.rule(None))

    def _sight(self, camera: str, shown: Sequence[Reveal]) -> Sight:
        rule = self.policy.rule(camera)
        if rule is None or not shown:
            return Sight(camera, rule)
        self._note.details["reveal"] = str(shown[0].id)
        return Sight(camera, None, shown[0])


async def get_viewing(
    scope: TenantDep, principal: PrincipalDep, deps: DepsDep, note: AuditNoteDep
) -> Viewing:
    stored = await scope.anonymisation.policy()
    policy = stored.policy if stored is not None else AnonymisationPolicy()
    now_us = deps.clock.now_us()
    reveals: Sequence[Reveal] = ()
    # Who lost the permission sees nothing more, whatever was revealed before.
    if policy.hides and grants(principal.role, Permission.EVIDENCE_REVEAL):
        reveals = await scope.anonymisation.active(scope.actor, now_us)
    return Viewing(policy, reveals, now_us, note)


ViewingDep = Annotated[Viewing, Depends(get_viewing)]


# ------------------------------------------------------------ who is where


async def persons_of(
    scope: TenantScope, rule: HideRule, camera: str, span: tuple[int, int], now_us: int
) -> Persons:
    """The persons on a camera between two capture times, as far as they are known."""
    # Whole cells, which say how many paths they have.
    from_us = (span[0] - PAD_US) // PATH_CELL_US * PATH_CELL_US
    to_us = -(-(span[1] + PAD_US + 1) // PATH_CELL_US) * PATH_CELL_US
    unknown = Persons(rule.hide)
    paths, cells = list[TrackPath](), list[AnalysedCell]()
    for at_us in range(from_us, to_us, CHUNK_US):
        some = await scope.tracks.paths(camera, at_us, min(at_us + CHUNK_US, to_us))
        if len(some) >= MAX_PATHS:
            return unknown
        paths += some
        cells += await scope.tracks.analysed(camera, at_us, min(at_us + CHUNK_US, to_us))
    alarms = await scope.records.alarms(
        AlarmQuery(camera=camera, since_us=max(0, from_us), until_us=to_us, limit=MAX_ALARMS)
    )
    sightings = await scope.tracks.in_sight(
        camera, from_us, to_us, within_us=SIGHTED_WITHIN_US, limit=MAX_SIGHTINGS
    )
    if len(sightings) >= MAX_SIGHTINGS:
        return unknown
    raised = [record.alarm for record in alarms.items]
    find = partial(persons_in, rule, paths, raised, sightings, cells, span=span, now_us=now_us)
    return await scope.hider.run(find)


# ------------------------------------------------------------ pictures


async def shown_snapshot(
    scope: TenantScope, viewing: Viewing, alarm: Alarm, jpeg: bytes
) -> tuple[bytes, Sight]:
    """The snapshot of an alarm, as it may be seen.

    Args:
        jpeg: as it is stored.

    Raises:
        UnavailableError: a store is down, or the picture cannot be anonymised.
    """
    sight = viewing.of_alarm(alarm)
    rule, at_us = sight.rule, alarm.capture_us
    if rule is None:
        return jpeg, sight
    persons = await persons_of(scope, rule, alarm.camera, (at_us, at_us), viewing.now_us)
    hide = partial(hide_in_jpeg, jpeg, rule, Hiding(rule, persons), at_us)
    return await scope.hider.run(hide), sight


async def shown_picture(scope: TenantScope, viewing: Viewing, key: str) -> tuple[bytes, Sight]:
    """A picture by its key in the storage, as it may be seen. Raises as `shown_snapshot`, and
    NotFoundError."""
    jpeg = await scope.blobs.get(key)
    if not viewing.policy.hides:
        return jpeg, Sight(None)
    alarm = await _alarm_of(scope, key)
    if alarm is not None:
        return await shown_snapshot(scope, viewing, alarm, jpeg)
    found = await scope.tracks.object_of_picture(key)
    if found is None:
        sight = viewing.of_unknown()
    else:
        seen = found.sighting
        sight = viewing.of_object(seen.camera, seen.track)
        # A job may have run a model that knows no persons.
        live = found.source is AlarmSource.LIVE
        if live and sight.rule is not None:
            if await _shows_nobody(scope, sight.rule, seen, viewing.now_us):
                sight = Sight(seen.camera)
    if sight.rule is None:
        return jpeg, sight
    return await scope.hider.run(partial(hide_in_jpeg, jpeg, sight.rule, None, 0)), sight


async def _alarm_of(scope: TenantScope, key: str) -> Alarm | None:
    """The alarm whose snapshot has this key; None: it is none of an alarm that is known."""
    named = PICTURE_KEY.fullmatch(key)
    if named is None or named["alarm"] is None:
        return None
    try:
        return await scope.alarm(UUID(named["alarm"]))
    except NotFoundError:
        return None


async def _shows_nobody(scope: TenantScope, rule: HideRule, seen: Sighting, now_us: int) -> bool:
    """Whether the picture of an object, which is of some moment of its time, shows no person."""
    span = seen.first_seen_us, seen.last_seen_us
    if rule.is_person(seen.label) or span[1] - span[0] > MAX_CROP_US:
        return False
    if span[1] > complete_until_us(now_us):
        return False
    persons = await persons_of(scope, rule, seen.camera, span, now_us)
    known = persons.until_us == span[1] and not persons.doubtful
    return known and not persons.touches(seen.box)
