"""Who may see recordings from before a camera had privacy masks (`recording.before_mask`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from cluster.core.roles import Permission, grants
from pipelines.domain import Segment
from serve.api.permissions import PrincipalDep
from serve.api.problems import PermissionDeniedError
from serve.api.scope import TenantDep
from serve.api.state import DepsDep


@dataclass(frozen=True, slots=True)
class ClosedFootage:
    """What is closed to the caller.

    Attributes:
        cameras: those with masks, of which unmasked recordings are closed.
    """

    cameras: frozenset[str]

    def holds(self, segment: Segment) -> bool:
        """Whether a file is closed to the caller."""
        return not segment.masked and segment.camera in self.cameras

    def require_open(self, segments: list[Segment]) -> None:
        """Raises PermissionDeniedError: one of the files is closed to the caller."""
        if any(self.holds(segment) for segment in segments):
            raise PermissionDeniedError(
                "A part of this was recorded before the camera had its privacy masks.",
                Permission.LIVE_UNMASKED,
                "Ask an admin of your tenant, or for a time from which on `masked` is true.",
            )


async def closed_footage(scope: TenantDep, deps: DepsDep, principal: PrincipalDep) -> ClosedFootage:
    """What is closed to whoever makes this request."""
    open_to_all = deps.settings.recording.before_mask == "allow"
    if open_to_all or grants(principal.role, Permission.LIVE_UNMASKED):
        return ClosedFootage(frozenset())
    return ClosedFootage(await scope.records.masked_cameras())


ClosedFootageDep = Annotated[ClosedFootage, Depends(closed_footage)]
