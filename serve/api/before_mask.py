"""Who may see what is from before a camera had its privacy masks (`recording.before_mask`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from cluster.core.roles import Permission, grants
from pipelines.domain import Segment
from pipelines.errors import NotFoundError
from pipelines.retention import EARLIEST_US
from serve.api.permissions import PrincipalDep
from serve.api.problems import PermissionDeniedError
from serve.api.scope import PICTURE_KEY, TenantDep, TenantScope
from serve.api.state import DepsDep

MASK_DELAY_US = 5_000_000
"""What is from so soon after a change of masks may be without them: a bridge hears of it within two
seconds, and frames that it had by then are on their way."""


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

    def covers(self, camera: str, at_us: int) -> bool:
        """Whether what a camera saw at a moment is closed to the caller."""
        if self._is_gone(camera):
            return True
        since_us = self.since_us.get(camera)
        return since_us is not None and at_us < since_us + MASK_DELAY_US

    def hides(self, camera: str, from_us: int, *, masked: bool) -> bool:
        """Whether a file is closed to the caller, which begins at `from_us`, with masks or not."""
        if self._is_gone(camera):
            return not masked
        if camera not in self.since_us:
            return False
        return not masked or self.covers(camera, from_us)

    def holds(self, segment: Segment) -> bool:
        """Whether a file of a recording is closed to the caller."""
        return self.hides(segment.camera, segment.start_us, masked=segment.masked)

    def require_moment(self, camera: str, at_us: int) -> None:
        """Raises PermissionDeniedError: the picture of a moment is closed to the caller."""
        if self.covers(camera, at_us):
            raise _closed("This picture is from before the camera had its privacy masks.")

    async def require_picture(self, scope: TenantScope, key: str) -> None:
        """Raises PermissionDeniedError: a picture in the storage is closed to the caller, or may
        be, because nobody knows any more when it is from."""
        if self.known is None:
            return
        seen = await seen_in(scope, key)
        if seen is None:
            raise _closed("Nobody knows whether this picture is from before privacy masks.")
        self.require_moment(*seen)

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


async def seen_in(scope: TenantScope, key: str) -> tuple[str, int] | None:
    """The camera of a picture in the storage, and the earliest moment that it can show; None: that
    is not known."""
    named = PICTURE_KEY.fullmatch(key)
    if named is None:
        return None
    if named["alarm"] is not None:
        try:
            alarm = await scope.alarm(UUID(named["alarm"]))
        except NotFoundError:
            return None
        return alarm.camera, alarm.capture_us
    found = await scope.tracks.object_of_picture(key)
    if found is None:
        return named["camera"], EARLIEST_US
    return found.sighting.camera, found.sighting.first_seen_us


async def closed_footage(scope: TenantDep, deps: DepsDep, principal: PrincipalDep) -> ClosedFootage:
    """What is closed to whoever makes this request."""
    open_to_all = deps.settings.recording.before_mask == "allow"
    if open_to_all or grants(principal.role, Permission.LIVE_UNMASKED):
        return ClosedFootage({})
    known = frozenset(await scope.records.camera_ids())
    return ClosedFootage(await scope.records.masked_cameras(), known)


ClosedFootageDep = Annotated[ClosedFootage, Depends(closed_footage)]
