"""`/v1/cameras/{camera}/rules`: what raises an alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Body, Response
from pydantic import Field, TypeAdapter

from pipelines.domain import (
    CountRule,
    LineCrossRule,
    LoiterRule,
    Rule,
    RuleKind,
    Slug,
    ZoneEntryRule,
)
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import CREATED, CameraPath, ResponseBody, RulePath
from serve.api.problems import responses
from serve.api.scope import TenantDep

router = APIRouter(tags=["rules"], responses=responses(401, 403, 404, 422, 429, 503))

_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


def _fresh_id(kind: RuleKind) -> Callable[[], str]:
    return lambda: f"{kind.replace('_', '-')}-{uuid4().hex[:8]}"


# The domain's rules, but with an id that is made up where the caller gives none, and with a kind
# that the caller must give.
class NewZoneEntryRule(ZoneEntryRule):
    kind: Literal[RuleKind.ZONE_ENTRY]
    id: Slug = Field(default_factory=_fresh_id(RuleKind.ZONE_ENTRY))


class NewLineCrossRule(LineCrossRule):
    kind: Literal[RuleKind.LINE_CROSS]
    id: Slug = Field(default_factory=_fresh_id(RuleKind.LINE_CROSS))


class NewLoiterRule(LoiterRule):
    kind: Literal[RuleKind.LOITER]
    id: Slug = Field(default_factory=_fresh_id(RuleKind.LOITER))


class NewCountRule(CountRule):
    kind: Literal[RuleKind.COUNT]
    id: Slug = Field(default_factory=_fresh_id(RuleKind.COUNT))


NewRule = Annotated[
    NewZoneEntryRule | NewLineCrossRule | NewLoiterRule | NewCountRule,
    Field(discriminator="kind"),
    Body(
        openapi_examples={
            "zone": {
                "summary": "Somebody enters the yard at night",
                "value": {
                    "id": "yard-at-night",
                    "kind": "zone_entry",
                    "polygon": [[0.1, 0.5], [0.9, 0.5], [0.9, 1.0], [0.1, 1.0]],
                    "classes": ["person"],
                    "min_confidence": 0.5,
                    "schedule": {
                        "timezone": "America/Sao_Paulo",
                        "windows": [{"start": "22:00", "end": "06:00"}],
                    },
                },
            },
            "line": {
                "summary": "A vehicle drives in",
                "value": {
                    "kind": "line_cross",
                    "line": [[0.5, 0.0], [0.5, 1.0]],
                    "direction": "left_to_right",
                    "classes": ["car", "truck"],
                },
            },
            "loiter": {
                "summary": "Somebody stays at the door for 20 s",
                "value": {
                    "kind": "loiter",
                    "polygon": [[0.4, 0.4], [0.6, 0.4], [0.6, 0.9], [0.4, 0.9]],
                    "seconds": 20,
                    "classes": ["person"],
                },
            },
            "count": {
                "summary": "Five people for 10 s",
                "value": {
                    "kind": "count",
                    "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]],
                    "n": 5,
                    "seconds": 10,
                    "classes": ["person"],
                },
            },
        }
    ),
]


class RuleList(ResponseBody):
    rules: list[Rule]


@router.post(
    "/v1/cameras/{camera}/rules",
    status_code=201,
    summary="Add a rule",
    responses=responses(400, 409, 413) | CREATED,
)
async def add_rule(
    camera: CameraPath,
    body: NewRule,
    scope: TenantDep,
    response: Response,
    note: AuditNoteDep,
) -> Rule:
    """Armed within two seconds, without a restart. Coordinates are 0..1 of the picture, origin
    top left."""
    note.details |= {"rule": body.id, "kind": body.kind.value}
    rule = _RULE.validate_python(body.model_dump())
    await scope.records.add_rule(camera, rule)
    await scope.announcer.changed(camera)
    response.headers["Location"] = f"/v1/cameras/{camera}/rules/{rule.id}"
    return rule


@router.get("/v1/cameras/{camera}/rules", summary="List the rules of a camera")
async def list_rules(camera: CameraPath, scope: TenantDep) -> RuleList:
    await scope.records.camera(camera)
    return RuleList(rules=await scope.records.rules(camera))


@router.delete("/v1/cameras/{camera}/rules/{rule}", status_code=204, summary="Remove a rule")
async def remove_rule(camera: CameraPath, rule: RulePath, scope: TenantDep) -> None:
    await scope.records.remove_rule(camera, rule)
    await scope.announcer.changed(camera)
