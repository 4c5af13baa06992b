"""Every route names one permission, and the table of roles is the one that the documents show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute

from cluster.core.roles import GRANTS, LIMITABLE, Permission, Role, grants, roles_with
from cluster.stores.db import Principal
from pipelines.errors import InputError
from serve.api.app import ROUTERS
from serve.api.openapi import install_openapi
from serve.api.permission_table import permission_table, with_table
from serve.api.permissions import OPEN_ROUTES, denied, refusal

ROOT = Path(__file__).parents[4]


def routes() -> list[BaseRoute]:
    return [route for module in ROUTERS for route in module.router.routes]


@pytest.fixture(scope="module")
def operations() -> dict[tuple[str, str], dict[str, Any]]:
    app = FastAPI()
    for module in ROUTERS:
        app.include_router(module.router)
    install_openapi(app, routes())
    return {
        (method.upper(), path): operation
        for path, item in app.openapi()["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_needs_a_permission_or_says_why_not(
    operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    bare = {route for route, operation in operations.items() if "x-permission" not in operation}
    assert bare == set(OPEN_ROUTES)
    assert len(operations) - len(bare) >= 30
    assert all(len(reason) > 15 for reason in OPEN_ROUTES.values())


def test_every_permission_opens_something(
    operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    named = {operation.get("x-permission") for operation in operations.values()} - {None}
    assert named == {permission.value for permission in Permission}


def test_every_guarded_route_documents_its_403(
    operations: dict[tuple[str, str], dict[str, Any]],
) -> None:
    silent = [
        route
        for route, operation in operations.items()
        if "x-permission" in operation and not {"401", "403"} <= operation["responses"].keys()
    ]
    assert silent == []


def test_the_documented_table_is_the_codes() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert text == with_table(text, permission_table(routes())), (
        "run: python -m serve.api.permission_table docs/api.md"
    )


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(InputError, match="made by"):
        with_table("# API", "|a|")


SEES = {
    "password.change",
    "session.read",
    "quota.read",
    "camera.read",
    "live.watch",
    "rule.read",
    "alarm.read",
    "clip.read",
}
ACTS = SEES | {"alarm.acknowledge", "object.search", "image.detect"}
STUDIES = ACTS | {"analytics.read", "recording.export", "job.run"}
RUNS = STUDIES | {"camera.manage", "rule.manage", "user.manage", "key.manage", "audit.read"}
RUNS |= {"privacy.manage", "group.manage", "erasure.read", "erasure.manage", "evidence.reveal"}
RUNS |= {"live.unmasked"}
SHARED = {"session.read", "tenant.manage", "model.manage", "key.manage", "audit.read"}
SHARED |= {"erasure.read"}


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEWER, SEES),
        (Role.OPERATOR, ACTS),
        (Role.ANALYST, STUDIES),
        (Role.ADMIN, RUNS),
        (Role.PLATFORM, SHARED),
    ],
)
def test_what_each_role_may(role: Role, may: set[str]) -> None:
    assert {str(permission) for permission in GRANTS[role]} == may
    assert {str(permission) for permission in Permission if grants(role, permission)} == may


def test_a_refusal_names_what_is_missing_and_who_has_it() -> None:
    error = denied(Role.VIEWER, Permission.ALARM_ACKNOWLEDGE)
    assert "alarm.acknowledge" in error.message
    assert error.hint.endswith("operator, analyst, admin.")
    assert roles_with(Permission.MODEL_MANAGE) == (Role.PLATFORM,)
    assert "platform key" in denied(Role.ADMIN, Permission.MODEL_MANAGE).message


def test_who_is_limited_to_groups_lacks_what_is_about_the_whole_tenant() -> None:
    for permission in GRANTS[Role.ADMIN]:
        admin = Principal("acme", Role.ADMIN, "user:ana", "s-1")
        assert refusal(admin, permission) is None
        limited = Principal("acme", Role.ADMIN, "user:ana", "s-1", ("door",))
        error = refusal(limited, permission)
        assert (error is None) == (permission in LIMITABLE)
        assert error is None or "limited to camera groups" in error.message
