"""Who may see what is from before a camera had its privacy masks (`recording.before_mask`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from cluster.core.roles import Permission, grants
from pipelines.domain import MASK_DELAY_US, Alarm, Segment
from pipelines.errors import NotFoundError
from pipelines.retention import EARLIEST_US
from serve.api.permissions import PrincipalDep
from serve.api.problems import PermissionDeniedError
from serve.api.scope import PICTURE_KEY, TenantDep, TenantScope
from serve.api.state import DepsDep


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """What is known of a picture in the storage.

    Attributes:
        at_us: the earliest moment that it can show.
        masks_us: it has the masks that its camera has had since this moment, because they were
            painted into it afterwards; None: they were not.
    """

    camera: str
    at_us: int
    masks_us: int | None


@dataclass(frozen=True, slots=True)
class ClosedFootage:
    """What is closed to the caller.

    Attributes:
        since_us: of each camera with masks, since when it has all of them.
        known: the cameras that are there; None: nothing is closed. What is left of a removed one
            may be from before masks that it had, so without masks it is closed.
    """

    since_us: Mapping[str, int]
    known: frozenset[str] | None = None

    def covers(self, picture: SeenPicture) -> bool:
        """Whether a picture is closed to the caller."""
        if self._is_gone(picture.camera):
            return True
        since_us = self.since_us.get(picture.camera)
        if since_us is None or picture.at_us >= since_us + MASK_DELAY_US:
            return False
        return picture.masks_us is None or picture.masks_us < since_us

    def hides(self, camera: str, painted_us: int | None) -> bool:
        """Whether a file is closed to the caller: a recording, or a clip.

        Args:
            painted_us: as of a `Segment`.
        """
        if self._is_gone(camera):
            return painted_us is None
        since_us = self.since_us.get(camera)
        return since_us is not None and (painted_us is None or painted_us < since_us)

    def holds(self, segment: Segment) -> bool:
        """Whether a file of a recording is closed to the caller."""
        return self.hides(segment.camera, segment.painted_us)

    async def require_alarm(self, scope: TenantScope, alarm: Alarm) -> None:
        """Raises PermissionDeniedError: the picture of an alarm is closed to the caller."""
        picture = SeenPicture(alarm.camera, alarm.capture_us, None)
        if self.covers(picture):
            self._require(await _of_alarm(scope, alarm.id) or picture)

    def _require(self, picture: SeenPicture) -> None:
        if self.covers(picture):
            raise _closed("This picture is from before the camera had its privacy masks.")

    async def require_picture(self, scope: TenantScope, key: str) -> None:
        """Raises PermissionDeniedError: a picture in the storage is closed to the caller, or may
        be, because nobody knows any more when it is from."""
        if self.known is None:
            return
        seen = await seen_in(scope, key)
        if seen is None:
            raise _closed("Nobody knows whether this picture is from before privacy masks.")
        self._require(seen)

    def _is_gone(self, camera: str) -> bool:
        return self.known is not None and camera not in self.known

    def require_open(self, segments: list[Segment]) -> None:
        """Raises PermissionDeniedError: one of the files is closed to the caller."""
        if any(self.holds(segment) for segment in segments):
            raise _closed("A part of this was recorded before the camera had its privacy masks.")


def _closed(message: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        message, Permission.LIVE_UNMASKED, "Ask an admin of your tenant, or for a later time."
    )


async def seen_in(scope: TenantScope, key: str) -> SeenPicture | None:
    """A picture in the storage; None: nothing is known of it."""
    named = PICTURE_KEY.fullmatch(key)
    if named is None:
        return None
    if named["alarm"] is not None:
        return await _of_alarm(scope, UUID(named["alarm"]))
    found = await scope.tracks.object_of_picture(key)
    if found is None:
        return SeenPicture(named["camera"], EARLIEST_US, None)
    return SeenPicture(found.sighting.camera, found.sighting.first_seen_us, found.masks_us)


async def _of_alarm(scope: TenantScope, id: UUID) -> SeenPicture | None:
    """None: there is no such alarm. One that has not reached the records has no masks that were
    painted afterwards."""
    try:
        kept = await scope.records.alarm(id)
    except NotFoundError:
        pass
    else:
        return SeenPicture(kept.alarm.camera, kept.alarm.capture_us, kept.masks_us)
    try:
        alarm = await scope.alarm(id)
    except NotFoundError:
        return None
    return SeenPicture(alarm.camera, alarm.capture_us, None)


async def closed_footage(scope: TenantDep, deps: DepsDep, principal: PrincipalDep) -> ClosedFootage:
    """What is closed to whoever makes this request."""
    open_to_all = deps.settings.recording.before_mask == "allow"
    if open_to_all or grants(principal.role, Permission.LIVE_UNMASKED):
        return ClosedFootage({})
    known = frozenset(await scope.records.camera_ids())
    return ClosedFootage(await scope.records.masked_cameras(), known)


ClosedFootageDep = Annotated[ClosedFootage, Depends(closed_footage)]
