"""`/v1/users`: who of a tenant may sign in, and as what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, SecretStr

from cluster.core.passwords import MAX_CHARS, MIN_CHARS, check_password
from cluster.core.roles import Permission, Role, TenantRole
from cluster.stores.db import User, UserChanges
from cluster.stores.db.types import user_actor
from cluster.stores.db.users import MAX_EMAIL, check_email
from pipelines.errors import ConflictError
from serve.api.audit.note import AuditNoteDep
from serve.api.auth import client_address
from serve.api.fields import (
    CREATED,
    DisplayName,
    NextCursor,
    PageCursor,
    PatchBody,
    RequestBody,
    ResponseBody,
    SecretText,
)
from serve.api.groups import LimitedTo
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import TenantDep
from serve.api.state import StateDep
from serve.api.throttle import network_of
from serve.api.times import rfc3339, rfc3339_or_none

router = APIRouter(
    tags=["users"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.USER_MANAGE)],
)

UserPath = Annotated[str, Path(pattern=r"^[a-z0-9]{12}$", description="Id of the user.")]
NewPassword = Annotated[
    SecretText,
    Field(
        min_length=MIN_CHARS,
        max_length=MAX_CHARS,
        description="Never given back.",
        examples=["correct horse battery staple"],
    ),
]


class NewUser(RequestBody):
    email: str = Field(min_length=3, max_length=MAX_EMAIL, examples=["ana@acme.example"])
    name: DisplayName | None = Field(None, description="Default: the e-mail address.")
    role: TenantRole
    groups: LimitedTo = None
    password: NewPassword


class UserPatch(PatchBody):
    """What to change; a key left out stays as it is. Another password, and `disabled`, end the
    user's sessions."""

    name: DisplayName = ""
    role: TenantRole = Role.VIEWER
    groups: LimitedTo = None
    password: NewPassword = SecretStr("")
    disabled: bool = False


class UserView(ResponseBody):
    id: str
    email: str
    name: str
    role: Role
    groups: tuple[str, ...] | None = Field(description="Null: all cameras.")
    disabled: bool
    created_at: str
    signed_in_at: str | None = Field(description="The last time; null: never.")
    provider: str | None = Field(
        description="The identity provider at which they sign in, which also says their role; "
        "null: they have a password."
    )


class UserList(ResponseBody):
    users: list[UserView]
    next_cursor: NextCursor


def _view(user: User) -> UserView:
    return UserView(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        groups=user.groups,
        disabled=user.disabled,
        created_at=rfc3339(user.created_us),
        signed_in_at=rfc3339_or_none(user.signed_in_us),
        provider=user.provider,
    )


@router.post(
    "/v1/users",
    status_code=201,
    summary="Add a user",
    responses=CREATED | responses(400, 404, 409, 413),
)
async def add_user(
    body: NewUser,
    scope: TenantDep,
    state: StateDep,
    request: Request,
    response: Response,
    note: AuditNoteDep,
) -> UserView:
    """A tenant has at most 2,000."""
    email = check_email(body.email)
    note.details["role"] = body.role.value
    if body.groups is not None:
        note.details["groups"] = list(body.groups)
    hashed = await _hashed(body.password, state, request)
    name = body.name or email[:120]
    user = await scope.users.add(email, name, body.role, hashed, body.groups)
    note.committed = True
    response.headers["Location"] = f"/v1/users/{user.id}"
    return _view(user)


@router.get("/v1/users", summary="List users, oldest first")
async def list_users(
    scope: TenantDep,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 500,
    cursor: PageCursor = None,
) -> UserList:
    found, following = await scope.users.page(limit, cursor)
    return UserList(users=[_view(user) for user in found], next_cursor=following)


@router.get("/v1/users/{user}", summary="One user", responses=responses(404))
async def get_user(user: UserPath, scope: TenantDep) -> UserView:
    return _view(await scope.users.user(user))


@router.patch("/v1/users/{user}", summary="Change a user", responses=responses(400, 404, 409, 413))
async def change_user(
    user: UserPath,
    body: UserPatch,
    scope: TenantDep,
    state: StateDep,
    request: Request,
    note: AuditNoteDep,
) -> UserView:
    """A change of the role or the groups takes effect within two seconds, in streams that are open
    within five. The last admin of a tenant, of users and of keys, stays one."""
    sent: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    note.details["fields"] = sorted(sent)
    if sent.get("groups") is not None:
        note.details["groups"] = list(sent["groups"])
    known = await scope.users.user(user)
    weaker = sent.get("disabled") or sent.get("role") not in (None, known.role)
    if scope.actor == known.actor and weaker:
        raise ConflictError(
            "You cannot take your own permissions away.", hint="Ask another admin to do it."
        )
    if "password" in sent:
        sent["password"] = await _hashed(body.password, state, request)
    changed = await scope.users.change(user, UserChanges(**sent))
    note.committed = True
    return _view(changed)


@router.delete(
    "/v1/users/{user}", status_code=204, summary="Remove a user", responses=responses(404, 409)
)
async def remove_user(user: UserPath, scope: TenantDep, note: AuditNoteDep) -> None:
    """With all sessions, which end within five seconds."""
    if scope.actor == user_actor(user):
        raise ConflictError("You cannot remove yourself.", hint="Ask another admin to do it.")
    await scope.users.remove(user)
    note.committed = True


async def _hashed(password: SecretStr, state: StateDep, request: Request) -> SecretStr:
    check_password(password.get_secret_value())
    network = network_of(client_address(request.scope))
    return await state.sign_in.passwords.hash(password, network, known=True)
