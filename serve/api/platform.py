"""`/v1/tenants`, `/v1/session`: who may use this installation."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from cluster.core.roles import GRANTS, Permission, Role
from cluster.stores.db import Tenant
from pipelines.domain import Slug
from pipelines.errors import ConflictError
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import DisplayName, RequestBody, ResponseBody
from serve.api.permissions import PrincipalDep, needs
from serve.api.problems import responses
from serve.api.scope import PlatformDep, UserDep
from serve.api.state import DepsDep
from serve.api.times import rfc3339

router = APIRouter(tags=["platform"], responses=responses(401, 403, 422, 429, 503))


class NewTenant(RequestBody):
    id: Slug = Field(examples=["acme"])
    name: DisplayName | None = Field(None, description="Default: the id.", examples=["Acme Ltd"])


class TenantView(ResponseBody):
    id: str
    name: str
    created_at: str


class TenantList(ResponseBody):
    tenants: list[TenantView]


class SessionUser(ResponseBody):
    id: str
    email: str
    name: str


class SessionView(ResponseBody):
    """What a page needs to know after signing in."""

    kind: Literal["tenant", "platform"]
    tenant: str | None
    role: Role
    permissions: list[Permission] = Field(description="What the role may do.")
    groups: tuple[str, ...] | None = Field(
        description="Ids of the camera groups whose cameras are all that you see; null: all."
    )
    user: SessionUser | None = Field(description="Who signed in; null: a key did.")
    livekit_url: str


def _tenant_view(tenant: Tenant) -> TenantView:
    return TenantView(id=tenant.slug, name=tenant.name, created_at=rfc3339(tenant.created_us))


@router.get(
    "/v1/session",
    summary="Who am I",
    dependencies=[needs(Permission.SESSION_READ)],
)
async def session(principal: PrincipalDep, user: UserDep, deps: DepsDep) -> SessionView:
    return SessionView(
        kind="tenant" if principal.tenant else "platform",
        tenant=principal.tenant,
        role=principal.role,
        permissions=sorted(GRANTS[principal.role]),
        groups=principal.groups,
        user=None if user is None else SessionUser(id=user.id, email=user.email, name=user.name),
        livekit_url=deps.settings.livekit.browser_url,
    )


@router.post(
    "/v1/tenants",
    status_code=201,
    summary="Add a tenant",
    responses=responses(400, 409, 413),
    dependencies=[needs(Permission.TENANT_MANAGE)],
)
async def add_tenant(body: NewTenant, platform: PlatformDep, note: AuditNoteDep) -> TenantView:
    note.object_id = body.id
    if any(tenant.slug == body.id for tenant in await platform.tenants()):
        raise ConflictError(f"Tenant '{body.id}' exists.", hint="Choose another id.")
    tenant = await platform.ensure_tenant(body.id, body.name or body.id)
    note.committed = True
    note.tenants.add(tenant.slug)
    return _tenant_view(tenant)


@router.get("/v1/tenants", summary="List tenants", dependencies=[needs(Permission.TENANT_MANAGE)])
async def list_tenants(platform: PlatformDep) -> TenantList:
    return TenantList(tenants=[_tenant_view(tenant) for tenant in await platform.tenants()])
