"""The OpenAPI document: FastAPI's, with our one error format in place of its own."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from serve.api.problems import Problem, responses

DESCRIPTION = """\
Send `Authorization: Bearer <key>` with everything under `/v1`. The tenant comes from the key.

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
    {"name": "jobs", "description": "Recordings, analysed again."},
    {"name": "audit", "description": "Who saw or changed what."},
    {"name": "quotas", "description": "What you may use, and what you do."},
    {"name": "platform", "description": "Tenants and keys; needs the platform key."},
    {"name": "health", "description": "For machines that look after this one; needs no key."},
]


def _add_timeout(document: dict[str, Any]) -> None:
    """408 for all that has a body, which `serve.api.pace` answers before a route does."""
    for path in document["paths"].values():
        for operation in path.values():
            if "requestBody" in operation:
                operation["responses"] |= {str(k): v for k, v in responses(408).items()}


def install_openapi(app: FastAPI) -> None:
    """Add the schemas of `Problem`, and drop those of FastAPI's own errors, which never occur."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            schemas = document["components"]["schemas"]
            _, ours = models_json_schema(
                [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
            )
            schemas.update(ours["$defs"])
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            _add_timeout(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
