"""What a request may touch: the tenant's own stores, or the platform's records.

The tenant comes from the credential and from nowhere else. Routes get a `TenantScope`, which does
not say which tenant it is of: every store that it gives is bound already, so that no route can name
one.
"""

from __future__ import annotations

import re
from collections.abc import Set
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends

from cluster.clips.coverage import Span
from cluster.clips.exports import ExportRequest
from cluster.stores.blobs.tenant import NO_BLOB
from cluster.stores.bus import CameraStatusBoard
from cluster.stores.db import (
    AuditLog,
    PlatformErasures,
    PlatformRecords,
    Principal,
    TenantAnonymisation,
    TenantCoverage,
    TenantErasures,
    TenantGroups,
    TenantJobs,
    TenantKeys,
    TenantRecordings,
    TenantRecords,
    TenantRetention,
    TenantTracks,
    TenantUsers,
    User,
    VisibleCameras,
)
from pipelines.domain import Alarm, Camera
from pipelines.erasure import Target
from pipelines.errors import InputError, NotFoundError
from serve.api.bound import (
    TenantAddresses,
    TenantAlarmFeed,
    TenantAnnouncer,
    TenantDecoder,
    TenantDetector,
    TenantEmbedder,
    TenantHider,
    TenantLinks,
    TenantMemory,
    TenantProcesses,
    TenantStatuses,
)
from serve.api.permissions import PrincipalDep
from serve.api.ports import BlobStore
from serve.api.problems import UnauthorizedError
from serve.api.quotas.bound import TenantQuotas
from serve.api.state import ApiState, DepsDep, StateDep

PICTURE_KEY = re.compile(
    r"alarms/(?P<alarm>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jpg"
    r"|objects/(?P<camera>[a-z0-9-]{1,40})/[0-9a-f]{32}\.jpg"
)
"""How pictures are named (`agents.evidence`, `pipelines.identity.object_snapshot_key`)."""


class TenantScope:
    """The stores of one tenant, of which the caller sees what its camera groups permit: a camera
    outside them is like one that does not exist. Each store is made when a route first wants it:
    most routes need one.

    Args:
        tenant: whose; from the key.
        principal: the caller.
        state: where the stores come from.
    """

    def __init__(self, tenant: str, principal: Principal, state: ApiState) -> None:
        self._tenant = tenant
        self._principal = principal
        self._groups = principal.groups
        self._state = state
        self._deps = state.deps

    @property
    def actor(self) -> str:
        """The caller, as records name it."""
        return self._principal.actor

    # ------------------------------------------------------------ SQL and blobs

    @cached_property
    def records(self) -> TenantRecords:
        return self._deps.database.tenant(self._tenant, self._groups)

    @cached_property
    def recordings(self) -> TenantRecordings:
        return self._deps.database.recordings(self._tenant, self._groups)

    @cached_property
    def tracks(self) -> TenantTracks:
        return self._deps.database.tracks(self._tenant, self._groups)

    @cached_property
    def coverage(self) -> TenantCoverage:
        return self._deps.database.coverage(self._tenant, self._groups)

    @cached_property
    def jobs(self) -> TenantJobs:
        return self._deps.database.jobs(self._tenant, self._groups)

    @cached_property
    def every_job(self) -> TenantJobs:
        """Also those of cameras that the caller does not see: to notice which of them have died.
        Nothing of it belongs into an answer."""
        return self._deps.database.jobs(self._tenant)

    @cached_property
    def retention(self) -> TenantRetention:
        return self._deps.database.retention(self._tenant, self._groups)

    @cached_property
    def groups(self) -> TenantGroups:
        return self._deps.database.groups(self._tenant)

    @cached_property
    def visible(self) -> VisibleCameras:
        return self.visible_to(self._groups)

    def visible_to(self, groups: tuple[str, ...] | None) -> VisibleCameras:
        """The same for the groups that the caller has by now: a stream outlasts a change."""
        return self._deps.database.visible(self._tenant, groups)

    @cached_property
    def erasures(self) -> TenantErasures:
        return self._deps.database.erasures(self._tenant)

    @cached_property
    def anonymisation(self) -> TenantAnonymisation:
        return self._deps.database.anonymisation(self._tenant, self._groups)

    @cached_property
    def users(self) -> TenantUsers:
        return self._deps.database.users(self._tenant)

    @cached_property
    def keys(self) -> TenantKeys:
        return self._deps.database.keys(self._tenant)

    @cached_property
    def audit(self) -> AuditLog:
        return self._deps.database.audit(self._tenant)

    @cached_property
    def blobs(self) -> BlobStore:
        """Not narrowed to the caller's cameras: take keys from stores that are, and call
        `check_camera` or `check_picture` for keys that come from the caller or from a blob."""
        return self._deps.blobs(self._tenant)

    # ------------------------------------------------------------ shared parts, bound

    @cached_property
    def quotas(self) -> TenantQuotas:
        return TenantQuotas(self._state.quotas, self._tenant, self.actor)

    def heavy_read(self) -> AbstractAsyncContextManager[None]:
        """As `HeavyReads.turn`."""
        return self._state.heavy_reads.turn(self._tenant)

    @cached_property
    def decoder(self) -> TenantDecoder:
        return TenantDecoder(self._state.decoder, self._tenant)

    @cached_property
    def memory(self) -> TenantMemory:
        return TenantMemory(self._deps.memory, self._tenant, self.visible)

    @cached_property
    def detector(self) -> TenantDetector:
        return TenantDetector(self._deps.detector, self._tenant)

    @cached_property
    def embedder(self) -> TenantEmbedder:
        return TenantEmbedder(self._deps.embedder, self._tenant)

    @cached_property
    def statuses(self) -> TenantStatuses:
        board = CameraStatusBoard(self._deps.redis)
        return TenantStatuses(board, self._tenant, self.visible)

    @cached_property
    def addresses(self) -> TenantAddresses:
        return TenantAddresses(self._deps.addresses, self._tenant)

    @cached_property
    def alarm_feed(self) -> TenantAlarmFeed:
        return TenantAlarmFeed(self._state.alarm_feeds, self._tenant, self.visible)

    @cached_property
    def announcer(self) -> TenantAnnouncer:
        return TenantAnnouncer(self._state.announcer, self._tenant)

    @cached_property
    def hider(self) -> TenantHider:
        return TenantHider(self._state.evidence.hider, self._tenant)

    @cached_property
    def links(self) -> TenantLinks:
        return TenantLinks(self._state.evidence.links, self._tenant, self._principal)

    @cached_property
    def processes(self) -> TenantProcesses:
        return TenantProcesses(self._deps.jobs, self._tenant)

    # ------------------------------------------------------------ what the caller may see

    async def alarm(self, alarm: UUID) -> Alarm:
        """An alarm, whether or not it has reached the records. Raises NotFoundError."""
        # A page that follows the stream requests it before the listener has written the record.
        recent = await self.alarm_feed.recent(alarm)
        if recent is not None and not await self.tracks.erased(
            [Target(recent.camera, recent.track)]
        ):
            return recent
        return (await self.records.alarm(alarm)).alarm

    async def check_camera(self, camera: str, missing: str) -> None:
        """Raises NotFoundError(missing): the caller does not see this camera."""
        if not await self.visible.among({camera}):
            raise NotFoundError(missing)

    async def check_policy_cameras(self, named: Set[str], accepted: Set[str]) -> None:
        """A name that was accepted once is accepted again, so that a policy that was read can be
        written.

        Args:
            named: cameras in the policy.
            accepted: those in the policy before it.

        Raises:
            NotFoundError: there is no such camera, and nothing is kept of one.
        """
        known = {*await self.records.camera_ids(), *accepted}
        for camera in sorted(named - known):
            await self.records.check_camera_known(camera)

    async def check_picture(self, key: str) -> None:
        """Raises NotFoundError: the key is of no picture of a camera that the caller sees."""
        if self._groups is None:
            return
        found = PICTURE_KEY.fullmatch(key)
        if found is None:
            raise NotFoundError(NO_BLOB)
        if found["alarm"] is not None:
            try:
                await self.records.alarm(UUID(found["alarm"]))
            except NotFoundError:
                raise NotFoundError(NO_BLOB) from None
        else:
            await self.check_camera(found["camera"], NO_BLOB)

    # ------------------------------------------------------------ values that name their tenant

    def new_camera(self, **fields: Any) -> Camera:
        """A camera of the tenant, not yet in the records. `fields`: all of `Camera` but `tenant`.

        Raises:
            pydantic.ValidationError: it is not valid.
        """
        return Camera(tenant=self._tenant, **fields)

    def new_viewer(self) -> str:
        """An identity for the caller in a camera's room, which ends with the caller's key or
        session."""
        return self._state.viewer_ids.new(self._principal.holder)

    def check_confirmed(self, typed: str | None) -> None:
        """Raises InputError: what was typed to confirm is not the tenant's id."""
        if typed != self._tenant:
            raise InputError(
                "To erase the whole tenant, give its id as `confirm`.",
                hint="GET /v1/session says which tenant you are of.",
            )

    def export_request(self, camera: str, span: Span) -> ExportRequest:
        return ExportRequest(self._tenant, camera, span.from_us, span.to_us, self.actor)


async def require_tenant(principal: PrincipalDep, state: StateDep) -> TenantScope:
    """The tenant of the caller. Raises AssertionError for the platform's key, which has none: the
    route needs a permission that the platform lacks."""
    if principal.tenant is None:
        raise AssertionError("the platform's key reached a tenant's route")
    return TenantScope(principal.tenant, principal, state)


async def require_platform(principal: PrincipalDep, deps: DepsDep) -> PlatformRecords:
    """Raises AssertionError for all but the platform's key: the route needs a permission that they
    lack."""
    if principal.tenant is not None:
        raise AssertionError("a tenant's key reached a route of the platform")
    return deps.database.platform()


async def require_audit(principal: PrincipalDep, state: StateDep) -> AuditLog:
    """The audit log of the caller's tenant, or the platform's own for its key."""
    if principal.tenant is None:
        return state.deps.database.platform_audit()
    return TenantScope(principal.tenant, principal, state).audit


async def require_keys(principal: PrincipalDep, state: StateDep) -> TenantKeys | PlatformRecords:
    """The keys of the caller's tenant, or those of everybody for the platform's key."""
    if principal.tenant is None:
        return state.deps.database.platform()
    return TenantScope(principal.tenant, principal, state).keys


async def require_erasures(
    principal: PrincipalDep, state: StateDep
) -> TenantErasures | PlatformErasures:
    """The erasures of the caller's tenant, or those of whole tenants for the platform's key."""
    if principal.tenant is None:
        return state.deps.database.platform_erasures()
    return TenantScope(principal.tenant, principal, state).erasures


async def current_user(principal: PrincipalDep, state: StateDep) -> User | None:
    """Who has signed in; None: the caller has a key.

    Raises:
        UnauthorizedError: the user was removed a moment ago.
    """
    kind, _, id = principal.actor.partition(":")
    if kind != "user" or principal.tenant is None:
        return None
    try:
        return await TenantScope(principal.tenant, principal, state).users.user(id)
    except NotFoundError:
        raise UnauthorizedError(
            "This session is over.", hint="Sign in: POST /v1/auth/login."
        ) from None


TenantDep = Annotated[TenantScope, Depends(require_tenant)]
PlatformDep = Annotated[PlatformRecords, Depends(require_platform)]
AuditDep = Annotated[AuditLog, Depends(require_audit)]
KeysDep = Annotated[TenantKeys | PlatformRecords, Depends(require_keys)]
ErasuresDep = Annotated[TenantErasures | PlatformErasures, Depends(require_erasures)]
UserDep = Annotated[User | None, Depends(current_user)]
