"""`/v1/cameras/{camera}/rules`: what raises an alarm."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter

from cluster.core.roles import Permission
from pipelines.borders import border_warnings
from pipelines.classes import MAX_SUGGESTED, ClassNames
from pipelines.domain import (
    SYSTEM_RULES,
    CountRule,
    LineCrossRule,
    LoiterRule,
    Rule,
    RuleKind,
    Slug,
    ZoneEntryRule,
)
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import CREATED, CameraPath, ResponseBody, RulePath, new_slug
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.scope import TenantDep
from serve.api.state import StateDep

router = APIRouter(tags=["rules"], responses=responses(401, 403, 404, 422, 429, 503))

_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)
OptionalId = Annotated[
    Slug | None,
    Field(description="Left out: made from `name`, or from `kind` where that is empty."),
]


# The domain's rules, but the id may be left out, and the kind must be given.
class NewZoneEntryRule(ZoneEntryRule):
    kind: Literal[RuleKind.ZONE_ENTRY]
    id: OptionalId = None  # type: ignore[assignment]


class NewLineCrossRule(LineCrossRule):
    kind: Literal[RuleKind.LINE_CROSS]
    id: OptionalId = None  # type: ignore[assignment]


class NewLoiterRule(LoiterRule):
    kind: Literal[RuleKind.LOITER]
    id: OptionalId = None  # type: ignore[assignment]


class NewCountRule(CountRule):
    kind: Literal[RuleKind.COUNT]
    id: OptionalId = None  # type: ignore[assignment]


class Warned(ResponseBody):
    warnings: tuple[str, ...] = Field(
        (), description="Why the rule may miss objects, such as its nearness to the picture's edge."
    )


class AddedZoneEntryRule(ZoneEntryRule, Warned):
    pass


class AddedLineCrossRule(LineCrossRule, Warned):
    pass


class AddedLoiterRule(LoiterRule, Warned):
    pass


class AddedCountRule(CountRule, Warned):
    pass


AddedRule = Annotated[
    AddedZoneEntryRule | AddedLineCrossRule | AddedLoiterRule | AddedCountRule,
    Field(discriminator="kind"),
]
_ADDED: TypeAdapter[AddedRule] = TypeAdapter(AddedRule)

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


def new_rule_id(name: str, kind: RuleKind, taken: Collection[str]) -> str:
    """An id that is not `taken`: from the name, or from the kind where the name gives none."""
    if name_is_reserved(new_slug(name, "", ())):
        name = ""
    return new_slug(name, kind.replace("_", "-"), taken)


def name_is_reserved(id: str) -> bool:
    """Whether it could be the id of what raises the system's own alarms."""
    return id.startswith(SYSTEM_RULES)


def known_classes(names: Sequence[str], labels: Sequence[str] | None) -> tuple[str, ...]:
    """The model's own names for `names`, each once.

    Args:
        labels: of the model; None where they are not known, then `names` are taken as they are.

    Raises:
        RequestValidationError: the model has no such class, so that the rule would never fire.
    """
    if labels is None:
        return tuple(dict.fromkeys(names))
    known = ClassNames(labels)
    found = {name: known.find(name) for name in names}
    unknown = [name for name, label in found.items() if label is None]
    if unknown:
        texts = [_unknown(name, known) for name in unknown[:MAX_SUGGESTED]]
        texts += ["the model has no such class"] * (len(unknown) - len(texts))
        texts[0] += f"; it knows: {known.listed()}"
        raise RequestValidationError(
            [
                {"type": "value_error", "loc": ("body", "classes", names.index(name)), "msg": text}
                for name, text in zip(unknown, texts, strict=True)
            ]
        )
    return tuple(dict.fromkeys(label for label in found.values() if label is not None))


def _unknown(name: str, known: ClassNames) -> str:
    meant = known.meant(name)
    return f"the model has no such class; {meant}" if meant else "the model has no such class"


class RuleList(ResponseBody):
    rules: list[Rule]


@router.post(
    "/v1/cameras/{camera}/rules",
    dependencies=[needs(Permission.RULE_MANAGE)],
    status_code=201,
    summary="Add a rule",
    responses=responses(400, 409, 413) | CREATED,
)
async def add_rule(
    camera: CameraPath,
    body: NewRule,
    scope: TenantDep,
    state: StateDep,
    response: Response,
    note: AuditNoteDep,
) -> AddedRule:
    """Armed within two seconds, without a restart. Coordinates are 0..1 of the picture, origin
    top left. Classes are those of the running model; `People` becomes `person`."""
    note.details |= {"kind": body.kind.value}
    made: dict[str, object] = {}
    if body.id is not None and name_is_reserved(body.id):
        text = f"ids that begin with `{SYSTEM_RULES}` are those of the system's own alarms"
        raise RequestValidationError([{"type": "value_error", "loc": ("body", "id"), "msg": text}])
    if body.classes:
        made["classes"] = known_classes(body.classes, await state.labels.current())
    if body.id is None:
        taken = {rule.id for rule in await scope.records.rules(camera)}
        made["id"] = new_rule_id(body.name, body.kind, taken)
    rule = _RULE.validate_python(body.model_dump() | made)
    note.details["rule"] = rule.id
    limits = await scope.quotas.limits()
    await scope.records.add_rule(
        camera, rule, at_most=limits[Quota.RULES_PER_CAMERA], of_all_at_most=limits[Quota.RULES]
    )
    note.committed = True
    await scope.announcer.changed(camera)
    response.headers["Location"] = f"/v1/cameras/{camera}/rules/{rule.id}"
    return _ADDED.validate_python(rule.model_dump() | {"warnings": border_warnings(rule)})


@router.get(
    "/v1/cameras/{camera}/rules",
    dependencies=[needs(Permission.RULE_READ)],
    summary="List the rules of a camera",
)
async def list_rules(camera: CameraPath, scope: TenantDep) -> RuleList:
    await scope.records.camera(camera)
    return RuleList(rules=await scope.records.rules(camera))


@router.delete(
    "/v1/cameras/{camera}/rules/{rule}",
    dependencies=[needs(Permission.RULE_MANAGE)],
    status_code=204,
    summary="Remove a rule",
)
async def remove_rule(
    camera: CameraPath, rule: RulePath, scope: TenantDep, note: AuditNoteDep
) -> None:
    await scope.records.remove_rule(camera, rule)
    note.committed = True
    await scope.announcer.changed(camera)
