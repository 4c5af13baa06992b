"""Each route needs one permission, which its decorator names: `dependencies=[needs(…)]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.core.roles import LIMITABLE, Permission, Role, grants, roles_with
from cluster.stores.db import Principal
from serve.api.problems import PermissionDeniedError, response_for

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

# Only describes the scheme in /openapi.json; RequireKey has already checked the credential.
_scheme = HTTPBearer(
    auto_error=False, description="A key of your tenant, `atk_…`, or a user's access token."
)


async def get_principal(request: Request, _: Annotated[object, Depends(_scheme)]) -> Principal:
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        raise AssertionError(f"{request.url.path} is not behind RequireKey")
    return principal


PrincipalDep = Annotated[Principal, Depends(get_principal)]


class Needs:
    """A dependency that lets only those pass who have a permission."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, principal: PrincipalDep) -> None:
        """Raises PermissionDeniedError."""
        error = refusal(principal, self.permission)
        if error is not None:
            raise error


def needs(permission: Permission) -> Any:
    """What a route puts into `dependencies`."""
    return Depends(Needs(permission))


def refusal(principal: Principal, permission: Permission) -> PermissionDeniedError | None:
    """Why a caller lacks a permission; None: the caller has it."""
    if not grants(principal.role, permission):
        return denied(principal.role, permission)
    if principal.groups is not None and permission not in LIMITABLE:
        return PermissionDeniedError(
            f"Who is limited to camera groups lacks the permission {permission}.",
            permission,
            "Ask an admin of your tenant.",
        )
    return None


def denied(role: Role, permission: Permission) -> PermissionDeniedError:
    """Why a role is refused, and what to do about it."""
    allowed = roles_with(permission)
    if role is Role.PLATFORM:
        hint = "Use a tenant's key here; POST /v1/keys issues one."
        return PermissionDeniedError("The platform key belongs to no tenant.", permission, hint)
    if allowed == (Role.PLATFORM,):
        hint = "Ask the operator."
        return PermissionDeniedError("Only the platform key may do this.", permission, hint)
    tenants = [str(one) for one in allowed if one is not Role.PLATFORM]
    return PermissionDeniedError(
        f"The role {role} lacks the permission {permission}.",
        permission,
        f"Ask an admin of your tenant; roles that have it: {', '.join(tenants)}.",
    )


class PermissionFirst:
    """ASGI middleware: who lacks the permission of a route is refused before the body is read.
    FastAPI reads and parses bodies before it runs any dependency."""

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        guarded = [(route, permission_of(route)) for route in routes]
        self._guarded = [
            (route, permission)
            for route, permission in guarded
            if permission is not None and WITH_BODY & (route.methods or set())
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._refusal(scope) if scope["type"] == "http" else None
        app = self._app if error is None else response_for(error)
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PermissionDeniedError | None:
        principal: Principal | None = scope.get("state", {}).get("principal")
        if principal is None or scope["method"] not in WITH_BODY:
            return None
        for route, permission in self._guarded:
            match, found = route.matches(scope)
            if match is not Match.FULL:
                continue
            error = refusal(principal, permission)
            if error is not None:
                # As the router would have: the audit log asks which route it was.
                scope.update({"route": route, "path_params": found.get("path_params", {})})
            return error
        return None


def permission_of(route: APIRoute) -> Permission | None:
    """The permission that a route needs; None: it names none.

    Raises:
        AssertionError: it names several.
    """
    found = [
        dependency.call.permission
        for dependency in route.dependant.dependencies
        if isinstance(dependency.call, Needs)
    ]
    if len(found) > 1:
        raise AssertionError(f"{route.path} needs {found}")
    return found[0] if found else None


OPEN_ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/healthz"): "for machines; shows nothing of a tenant",
    ("GET", "/readyz"): "for machines; shows nothing of a tenant",
    ("GET", "/metrics"): "for machines; shows nothing of a tenant",
    ("POST", "/v1/auth/login"): "the password is the credential",
    ("POST", "/v1/auth/refresh"): "the refresh token is the credential",
    ("POST", "/v1/auth/logout"): "the refresh token is the credential",
    ("GET", "/v1/auth/providers"): "names of buttons, for people who have not signed in",
    ("GET", "/v1/auth/oidc/{provider}/start"): "redirects to the identity provider",
    ("GET", "/v1/auth/oidc/{provider}/callback"): "the provider's code is the credential",
    ("GET", "/media/{token}"): "the signed link is the permission",
    ("HEAD", "/media/{token}"): "the signed link is the permission",
}
"""Routes that need no permission, and why."""
