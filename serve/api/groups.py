"""`/v1/groups`: cameras under one name. A user or key that is limited to groups sees their cameras
and no other."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import Field

from cluster.core.roles import Permission
from cluster.stores.db import CameraGroup
from cluster.stores.db.groups import MAX_CAMERAS, MAX_GROUPS_EACH
from pipelines.domain import SLUG_PATTERN, Slug
from serve.api.audit.note import MAX_NAMED, AuditNoteDep
from serve.api.fields import (
    CREATED,
    DisplayName,
    PatchBody,
    RequestBody,
    ResponseBody,
    new_slug,
)
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import TenantDep
from serve.api.times import rfc3339

router = APIRouter(
    tags=["groups"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.GROUP_MANAGE)],
)

GroupPath = Annotated[
    str, Path(pattern=SLUG_PATTERN, description="Id of the group.", examples=["entrances"])
]
Cameras = Annotated[
    tuple[Slug, ...],
    Field(
        max_length=MAX_CAMERAS,
        description="Ids of cameras; also of one that was removed, while anything that it saw is "
        "kept. An empty group shows nothing.",
        examples=[["gate", "yard"]],
    ),
]
LimitedTo = Annotated[
    tuple[Slug, ...] | None,
    Field(
        min_length=1,
        max_length=MAX_GROUPS_EACH,
        description="Ids of groups, whose cameras are then all that there is, together. Null or "
        "left out: every camera of the tenant, also those that are added later. Admins always have "
        "all cameras.",
        examples=[["entrances"]],
    ),
]
"""The field `groups` of a user or key."""


class NewGroup(RequestBody):
    id: Slug | None = Field(None, description="Left out: made from `name`.", examples=["entrances"])
    name: DisplayName = Field(examples=["Entrances"])
    cameras: Cameras = ()


class GroupPatch(PatchBody):
    """What to change; a key left out stays as it is. `cameras` replaces all of them."""

    name: DisplayName = ""
    cameras: Cameras = ()


class GroupView(ResponseBody):
    id: str
    name: str
    cameras: tuple[str, ...]
    users: int = Field(description="How many users are limited to it, among other groups.")
    keys: int = Field(description="The same of keys that work.")
    created_at: str


class GroupList(ResponseBody):
    groups: list[GroupView]


def _view(group: CameraGroup) -> GroupView:
    return GroupView(
        id=group.id,
        name=group.name,
        cameras=group.cameras,
        users=group.users,
        keys=group.keys,
        created_at=rfc3339(group.created_us),
    )


def _named(cameras: tuple[str, ...]) -> dict[str, Any]:
    return {"cameras": sorted(cameras)[:MAX_NAMED], "count": len(cameras)}


@router.post(
    "/v1/groups",
    status_code=201,
    summary="Add a group of cameras",
    responses=CREATED | responses(400, 404, 409, 413),
)
async def add_group(
    body: NewGroup, scope: TenantDep, response: Response, note: AuditNoteDep
) -> GroupView:
    """Limits nobody by itself: name it in `groups` of a user or key. 404: there is no such camera.
    409: the id or name is taken, or there are 200 groups."""
    note.details |= _named(body.cameras)
    id = body.id or new_slug(
        body.name, "group", {group.id for group in await scope.groups.groups()}
    )
    made = await scope.groups.add(id, body.name, body.cameras)
    note.committed = True
    response.headers["Location"] = f"/v1/groups/{made.id}"
    return _view(made)


@router.get("/v1/groups", summary="List the groups of cameras")
async def list_groups(scope: TenantDep) -> GroupList:
    return GroupList(groups=[_view(group) for group in await scope.groups.groups()])


@router.get("/v1/groups/{group}", summary="One group", responses=responses(404))
async def get_group(group: GroupPath, scope: TenantDep) -> GroupView:
    return _view(await scope.groups.group(group))


@router.patch(
    "/v1/groups/{group}", summary="Change a group", responses=responses(400, 404, 409, 413)
)
async def change_group(
    group: GroupPath, body: GroupPatch, scope: TenantDep, note: AuditNoteDep
) -> GroupView:
    """Counts at once for requests, and within five seconds for streams that are open."""
    sent: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    note.details["fields"] = sorted(sent)
    if "cameras" in sent:
        note.details |= _named(body.cameras)
    changed = await scope.groups.change(group, **sent)
    note.committed = True
    return _view(changed)


@router.delete(
    "/v1/groups/{group}",
    status_code=204,
    summary="Remove a group",
    responses=responses(404, 409),
)
async def remove_group(group: GroupPath, scope: TenantDep, note: AuditNoteDep) -> None:
    """409 while a user, or a key that works, is limited to it."""
    await scope.groups.remove(group)
    note.committed = True
