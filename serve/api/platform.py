"""`/v1/tenants`, `/v1/keys`, `/v1/session`: who may use this installation."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from cluster.stores.db import KeyInfo, Tenant
from pipelines.domain import Slug
from pipelines.errors import ConflictError
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import DisplayName, RequestBody, ResponseBody
from serve.api.problems import responses
from serve.api.scope import PlatformDep, PrincipalDep
from serve.api.state import DepsDep
from serve.api.times import rfc3339

router = APIRouter(tags=["platform"], responses=responses(401, 422, 429, 503))


class NewTenant(RequestBody):
    id: Slug = Field(examples=["acme"])
    name: DisplayName | None = Field(None, description="Default: the id.", examples=["Acme Ltd"])


class TenantView(ResponseBody):
    id: str
    name: str
    created_at: str


class TenantList(ResponseBody):
    tenants: list[TenantView]


class NewKey(RequestBody):
    tenant: Slug | None = Field(
        description="Whose key; null: another platform key.", examples=["acme"]
    )
    label: DisplayName = Field(description="What it is for.", examples=["control room"])


class FreshKey(ResponseBody):
    id: str
    tenant: str | None
    label: str
    key: str = Field(description="Shown this once; only its hash is kept.")


class KeyView(ResponseBody):
    id: str
    tenant: str | None
    label: str
    created_at: str
    revoked_at: str | None


class KeyList(ResponseBody):
    keys: list[KeyView]


class SessionView(ResponseBody):
    """What a page needs to know after signing in."""

    kind: Literal["tenant", "platform"]
    tenant: str | None
    livekit_url: str


def _tenant_view(tenant: Tenant) -> TenantView:
    return TenantView(id=tenant.slug, name=tenant.name, created_at=rfc3339(tenant.created_us))


def _key_view(key: KeyInfo) -> KeyView:
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        label=key.label,
        created_at=rfc3339(key.created_us),
        revoked_at=rfc3339(key.revoked_us) if key.revoked_us is not None else None,
    )


@router.get("/v1/session", summary="Who am I")
async def session(principal: PrincipalDep, deps: DepsDep) -> SessionView:
    return SessionView(
        kind="tenant" if principal.tenant else "platform",
        tenant=principal.tenant,
        livekit_url=deps.settings.livekit.browser_url,
    )


@router.post(
    "/v1/tenants", status_code=201, summary="Add a tenant", responses=responses(400, 403, 409, 413)
)
async def add_tenant(body: NewTenant, platform: PlatformDep, note: AuditNoteDep) -> TenantView:
    note.object_id = body.id
    if any(tenant.slug == body.id for tenant in await platform.tenants()):
        raise ConflictError(f"Tenant '{body.id}' exists.", hint="Choose another id.")
    tenant = await platform.ensure_tenant(body.id, body.name or body.id)
    note.committed = True
    note.tenants.add(tenant.slug)
    return _tenant_view(tenant)


@router.get("/v1/tenants", summary="List tenants", responses=responses(403))
async def list_tenants(platform: PlatformDep) -> TenantList:
    return TenantList(tenants=[_tenant_view(tenant) for tenant in await platform.tenants()])


@router.post(
    "/v1/keys", status_code=201, summary="Issue a key", responses=responses(400, 403, 404, 413)
)
async def issue_key(
    body: NewKey, platform: PlatformDep, response: Response, note: AuditNoteDep
) -> FreshKey:
    note.details["tenant"] = body.tenant
    issued = await platform.create_key(body.tenant, body.label)
    note.committed = True
    if body.tenant is not None:
        note.tenants.add(body.tenant)
    response.headers["Location"] = f"/v1/keys/{issued.id}"
    return FreshKey(id=issued.id, tenant=body.tenant, label=body.label, key=issued.secret)


@router.get("/v1/keys", summary="List keys", responses=responses(403))
async def list_keys(platform: PlatformDep) -> KeyList:
    """Without their secrets, which are stored nowhere."""
    return KeyList(keys=[_key_view(key) for key in await platform.keys()])


@router.delete(
    "/v1/keys/{key}", status_code=204, summary="Revoke a key", responses=responses(403, 404)
)
async def revoke_key(
    key: Annotated[str, Path(pattern=r"^[a-z0-9]{8}$")], platform: PlatformDep, note: AuditNoteDep
) -> None:
    """It stops working within two seconds."""
    tenant = await platform.revoke_key(key)
    note.committed = True
    note.details["tenant"] = tenant
    if tenant is not None:
        note.tenants.add(tenant)
