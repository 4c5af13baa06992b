"""The OpenAPI document: FastAPI's, with our one error format in place of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from serve.api.middleware import ANY_HOST
from serve.api.permissions import permission_of
from serve.api.problems import Problem, responses

DESCRIPTION = """\
Send `Authorization: Bearer <key>` with everything under `/v1`, or a user's access token in place of
the key. The tenant comes from it. `x-permission` names the permission that an operation needs.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) `application/problem+json` with
`code`, `hint` and, for wrong fields, `errors`. Times are RFC 3339 in UTC. Coordinates of zones,
lines and alarm boxes are 0..1 of the picture, origin top left; those of `/v1/detect` are pixels.
"""

TAGS = [
    {"name": "cameras", "description": "What is watched, live pictures."},
    {"name": "rules", "description": "What raises an alarm."},
    {"name": "alarms", "description": "What happened."},
    {"name": "recordings", "description": "What was recorded; clips and exports of it."},
    {"name": "detect", "description": "The detector, for one picture."},
    {"name": "search", "description": "What was seen that looks like this."},
    {"name": "objects", "description": "What was seen, when, and its way through the picture."},
    {"name": "analytics", "description": "Statistics over many objects."},
    {"name": "coverage", "description": "How long cameras were analysed and blind, and why."},
    {"name": "jobs", "description": "Recordings, analysed again."},
    {"name": "retention", "description": "How long things are kept; legal holds; reports."},
    {"name": "anonymisation", "description": "Who is hidden in evidence, and who sees originals."},
    {"name": "audit", "description": "Who saw or changed what."},
    {"name": "quotas", "description": "What you may use, and what you do."},
    {"name": "auth", "description": "Users sign in and out; needs no key."},
    {"name": "users", "description": "Who may sign in."},
    {"name": "keys", "description": "Keys for programs."},
    {"name": "groups", "description": "Which cameras users and keys see."},
    {"name": "platform", "description": "Tenants; needs the platform key."},
    {"name": "health", "description": "For machines that look after this one; needs no key."},
]


def _add_early_answers(document: dict[str, Any]) -> None:
    """What `serve.api.middleware` and `serve.api.pace` answer before a route does."""
    for path, item in document["paths"].items():
        for operation in item.values():
            early = [414, 431]
            early += [421] if path not in ANY_HOST else []
            early += [408, 413] if "requestBody" in operation else []
            early += [404] if "{" in path else []
            known = operation["responses"]
            known |= {str(k): v for k, v in responses(*early).items() if str(k) not in known}


def install_openapi(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Add the schemas of `Problem` and the permissions of `routes`, and drop the schemas of
    FastAPI's own errors, which never occur."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            _name_permissions(routes, document)
            schemas = document["components"]["schemas"]
            _, ours = models_json_schema(
                [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
            )
            schemas.update(ours["$defs"])
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            _add_early_answers(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _name_permissions(routes: Sequence[BaseRoute], document: dict[str, Any]) -> None:
    for route in routes:
        if not isinstance(route, APIRoute) or (permission := permission_of(route)) is None:
            continue
        for method in route.methods or ():
            document["paths"][route.path_format][method.lower()]["x-permission"] = permission.value
