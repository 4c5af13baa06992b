"""What a request may touch: the tenant's own stores, or the platform's records.

The tenant comes from the key and from nowhere else. Routes get a `TenantScope`, which does not say
which tenant it is of: every store that it gives is bound already, so that no route can name one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from cluster.clips.coverage import Span
from cluster.clips.exports import ExportRequest
from cluster.stores.bus import CameraStatusBoard
from cluster.stores.db import (
    AuditLog,
    PlatformRecords,
    Principal,
    TenantJobs,
    TenantRecordings,
    TenantRecords,
    TenantTracks,
)
from pipelines.domain import Camera
from serve.api.bound import (
    TenantAddresses,
    TenantAlarmFeed,
    TenantAnnouncer,
    TenantDecoder,
    TenantDetector,
    TenantEmbedder,
    TenantLinks,
    TenantMemory,
    TenantProcesses,
    TenantStatuses,
)
from serve.api.ports import BlobStore
from serve.api.problems import ForbiddenError
from serve.api.quotas.bound import TenantQuotas
from serve.api.state import ApiState, DepsDep, StateDep


class TenantScope:
    """The stores of one tenant. Each is made when a route first wants it: most routes need one.

    Args:
        tenant: whose; from the key.
        key_id: of the caller's key.
        state: where the stores come from.
    """

    def __init__(self, tenant: str, key_id: str, state: ApiState) -> None:
        self._tenant = tenant
        self._key_id = key_id
        self._state = state
        self._deps = state.deps
        self.actor = f"key:{key_id}"
        """The caller, as records name it."""

    # ------------------------------------------------------------ SQL and blobs

    @cached_property
    def records(self) -> TenantRecords:
        return self._deps.database.tenant(self._tenant)

    @cached_property
    def recordings(self) -> TenantRecordings:
        return self._deps.database.recordings(self._tenant)

    @cached_property
    def tracks(self) -> TenantTracks:
        return self._deps.database.tracks(self._tenant)

    @cached_property
    def jobs(self) -> TenantJobs:
        return self._deps.database.jobs(self._tenant)

    @cached_property
    def audit(self) -> AuditLog:
        return self._deps.database.audit(self._tenant)

    @cached_property
    def blobs(self) -> BlobStore:
        return self._deps.blobs(self._tenant)

    # ------------------------------------------------------------ shared parts, bound

    @cached_property
    def quotas(self) -> TenantQuotas:
        return TenantQuotas(self._state.quotas, self._tenant, self._key_id)

    @cached_property
    def decoder(self) -> TenantDecoder:
        return TenantDecoder(self._state.decoder, self._tenant)

    @cached_property
    def memory(self) -> TenantMemory:
        return TenantMemory(self._deps.memory, self._tenant)

    @cached_property
    def detector(self) -> TenantDetector:
        return TenantDetector(self._deps.detector, self._tenant)

    @cached_property
    def embedder(self) -> TenantEmbedder:
        return TenantEmbedder(self._deps.embedder, self._tenant)

    @cached_property
    def statuses(self) -> TenantStatuses:
        return TenantStatuses(CameraStatusBoard(self._deps.redis), self._tenant)

    @cached_property
    def addresses(self) -> TenantAddresses:
        return TenantAddresses(self._deps.addresses, self._tenant)

    @cached_property
    def alarm_feed(self) -> TenantAlarmFeed:
        return TenantAlarmFeed(self._state.alarm_feeds, self._tenant)

    @cached_property
    def announcer(self) -> TenantAnnouncer:
        return TenantAnnouncer(self._state.announcer, self._tenant)

    @cached_property
    def links(self) -> TenantLinks:
        return TenantLinks(self._state.evidence.links, self._tenant, self.actor)

    @cached_property
    def processes(self) -> TenantProcesses:
        return TenantProcesses(self._deps.jobs, self._tenant)

    # ------------------------------------------------------------ values that name their tenant

    def new_camera(self, **fields: Any) -> Camera:
        """A camera of the tenant, not yet in the records. `fields`: all of `Camera` but `tenant`.

        Raises:
            pydantic.ValidationError: it is not valid.
        """
        return Camera(tenant=self._tenant, **fields)

    def export_request(self, camera: str, span: Span) -> ExportRequest:
        return ExportRequest(self._tenant, camera, span.from_us, span.to_us, self.actor)


# Only describes the scheme in /openapi.json; RequireKey has already checked the key.
_scheme = HTTPBearer(auto_error=False, description="A key of your tenant: `atk_…`")


async def get_principal(request: Request, _: Annotated[object, Depends(_scheme)]) -> Principal:
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        raise AssertionError(f"{request.url.path} is not behind RequireKey")
    return principal


PrincipalDep = Annotated[Principal, Depends(get_principal)]


async def require_tenant(principal: PrincipalDep, state: StateDep) -> TenantScope:
    """The tenant of the key. Raises ForbiddenError for the platform's key, which has none."""
    if principal.tenant is None:
        raise ForbiddenError(
            "The platform key belongs to no tenant.",
            hint="Use a tenant's key here; POST /v1/keys issues one.",
        )
    return TenantScope(principal.tenant, principal.key_id, state)


async def require_platform(principal: PrincipalDep, deps: DepsDep) -> PlatformRecords:
    """Raises ForbiddenError for every key but the platform's."""
    if principal.tenant is not None:
        raise ForbiddenError(
            "Only the platform key manages tenants and keys.", hint="Ask the operator."
        )
    return deps.database.platform()


async def require_audit(principal: PrincipalDep, state: StateDep) -> AuditLog:
    """The audit log of the key's tenant, or the platform's own for its key."""
    if principal.tenant is None:
        return state.deps.database.platform_audit()
    return TenantScope(principal.tenant, principal.key_id, state).audit


TenantDep = Annotated[TenantScope, Depends(require_tenant)]
PlatformDep = Annotated[PlatformRecords, Depends(require_platform)]
AuditDep = Annotated[AuditLog, Depends(require_audit)]
