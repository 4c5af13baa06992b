"""`/v1/keys`: an admin's keys of its own tenant; the platform's of everybody."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import AliasChoices, AwareDatetime, Field, model_validator

from cluster.core.roles import Permission, Role, TenantRole
from cluster.stores.db import IssuedKey, KeyInfo, TenantKeys
from pipelines.domain import Slug
from pipelines.errors import InputError
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import (
    CREATED,
    DisplayName,
    NextCursor,
    PageCursor,
    RequestBody,
    ResponseBody,
)
from serve.api.groups import LimitedTo
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import KeysDep
from serve.api.times import micros, rfc3339, rfc3339_or_none

router = APIRouter(
    tags=["keys"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.KEY_MANAGE)],
)

# A week to bring the new key to every program that has the old one.
MAX_OVERLAP_S = 7 * 86_400

Limit = Annotated[int, Query(ge=1, le=1_000)]
KeyPath = Annotated[str, Path(pattern=r"^[a-z0-9]{8}$", description="Id of the key.")]


class NewKey(RequestBody):
    name: DisplayName = Field(
        validation_alias=AliasChoices("name", "label"),
        description="What it is for. `label` is the same.",
        examples=["control room"],
    )
    role: TenantRole | None = Field(
        None,
        description="What it may do. Needed with a tenant's key; with the platform's the default "
        "is admin, and keys of the platform have none.",
    )
    groups: LimitedTo = None
    expires_at: AwareDatetime | None = Field(None, description="Null: never.")
    tenant: Slug | None = Field(
        None,
        description="With the platform key only, and needed there: whose key; null: another "
        "platform key. A tenant's key makes keys of its own tenant.",
        examples=["acme"],
    )

    @model_validator(mode="after")
    def _platform_keys_have_no_role(self) -> Self:
        if "tenant" in self.model_fields_set and self.tenant is None and self.role is not None:
            raise ValueError("a key of the platform has no other role")
        if "tenant" in self.model_fields_set and self.tenant is None and self.groups is not None:
            raise ValueError("a key of the platform has no groups")
        return self


class KeyRotation(RequestBody):
    overlap_s: Annotated[int, Field(ge=0, le=MAX_OVERLAP_S)] = Field(
        3600, description="How long the old key works beside the new one."
    )


class KeyView(ResponseBody):
    id: str
    tenant: str | None
    name: str
    label: str = Field(description="The same as `name`.")
    role: Role
    groups: tuple[str, ...] | None = Field(description="Null: all cameras.")
    prefix: str = Field(description="How the key begins.", examples=["atk_3kd82hs9_"])
    created_at: str
    expires_at: str | None = Field(description="Null: never.")
    last_used_at: str | None = Field(description="To within a minute; null: never.")
    revoked_at: str | None
    replaced_by: str | None = Field(description="Id of the key that a rotation made of it.")


class FreshKey(KeyView):
    key: str = Field(description="Shown this once; only its hash is kept.")


class KeyList(ResponseBody):
    keys: list[KeyView]
    next_cursor: NextCursor


def _view(key: KeyInfo) -> KeyView:
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        name=key.label,
        label=key.label,
        role=key.role,
        groups=key.groups,
        prefix=f"atk_{key.id}_",
        created_at=rfc3339(key.created_us),
        expires_at=rfc3339_or_none(key.expires_us),
        last_used_at=rfc3339_or_none(key.last_used_us),
        revoked_at=rfc3339_or_none(key.revoked_us),
        replaced_by=key.replaced_by,
    )


def _fresh(issued: IssuedKey, response: Response) -> FreshKey:
    response.headers["Location"] = f"/v1/keys/{issued.id}"
    return FreshKey(**_view(issued.info).model_dump(), key=issued.secret)


@router.post(
    "/v1/keys",
    status_code=201,
    summary="Issue a key",
    responses=CREATED | responses(400, 404, 409, 413),
)
async def issue_key(
    body: NewKey, keys: KeysDep, response: Response, note: AuditNoteDep
) -> FreshKey:
    """Its secret is in this answer and nowhere else. A tenant has at most 1,000 keys that work."""
    expires_us = micros(body.expires_at)
    if isinstance(keys, TenantKeys):
        if "tenant" in body.model_fields_set:
            raise InputError("The tenant comes from your key.", hint="Leave `tenant` out.")
        if body.role is None:
            raise InputError("The key needs a role.", hint="Give `role`.")
        issued = await keys.issue(body.name, body.role, expires_us, body.groups)
        note.committed = True
    else:
        if "tenant" not in body.model_fields_set:
            raise InputError(
                "The field `tenant` is missing.", hint="Give `tenant`: a tenant's id, or null."
            )
        issued = await keys.create_key(body.tenant, body.name, body.role, expires_us, body.groups)
        note.committed = True
        if body.tenant is not None:
            note.tenants.add(body.tenant)
    note.details.update(tenant=issued.info.tenant, role=issued.info.role.value)
    if body.groups is not None:
        note.details["groups"] = list(body.groups)
    return _fresh(issued, response)


@router.get("/v1/keys", summary="List keys, oldest first")
async def list_keys(keys: KeysDep, limit: Limit = 500, cursor: PageCursor = None) -> KeyList:
    """Without their secrets, which are stored nowhere. Those that have ended are in it for a year,
    the newest 1,000 of them."""
    found, following = await keys.page(limit, cursor)
    return KeyList(keys=[_view(key) for key in found], next_cursor=following)


@router.post(
    "/v1/keys/{key}/rotate",
    status_code=201,
    summary="Replace a key",
    responses=CREATED | responses(400, 404, 409, 413),
)
async def rotate_key(
    key: KeyPath, body: KeyRotation, keys: KeysDep, response: Response, note: AuditNoteDep
) -> FreshKey:
    """The new key has the old one's name, role, groups and expiry. The old one ends after
    `overlap_s`, and is not replaced again: rotate the new one."""
    issued = await keys.rotate_key(key, body.overlap_s * 1_000_000)
    note.committed = True
    tenant = issued.info.tenant
    note.details.update(tenant=tenant, new=issued.id)
    if tenant is not None:
        note.tenants.add(tenant)
    return _fresh(issued, response)


@router.delete("/v1/keys/{key}", status_code=204, summary="Revoke a key", responses=responses(404))
async def revoke_key(key: KeyPath, keys: KeysDep, note: AuditNoteDep) -> None:
    """It stops working within two seconds."""
    tenant = await keys.revoke_key(key)
    note.committed = True
    note.details["tenant"] = tenant
    if tenant is not None:
        note.tenants.add(tenant)
