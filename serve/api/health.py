"""`/healthz`, `/readyz`, `/metrics`: for load balancers, orchestrators and Prometheus.

Open to everybody who can reach the port, so they name dependencies but never their addresses.
"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from pipelines.errors import NotFoundError
from serve.api.audit.recorder import AuditHealth
from serve.api.fields import ResponseBody
from serve.api.problems import MEDIA_TYPE, problem_response
from serve.api.readiness import DependencyState
from serve.api.state import StateDep

router = APIRouter(tags=["health"])

ELSEWHERE = "Prometheus reads them on the port that api.metrics names, inside the cluster."


class Alive(ResponseBody):
    status: Literal["alive"] = "alive"


class Ready(ResponseBody):
    status: Literal["ready"] = "ready"
    dependencies: dict[str, DependencyState]
    audit: AuditHealth


@router.get("/healthz", summary="Is this process alive?")
async def healthz() -> Alive:
    return Alive()


@router.get(
    "/readyz",
    summary="Can it serve?",
    response_model=Ready,
    responses={
        503: {
            "description": "At least one dependency is down; `dependencies` and `audit` as in the "
            "200 answer.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
)
async def readyz(state: StateDep) -> JSONResponse:
    states = await state.readiness.states()
    shown = {name: found.model_dump(exclude_none=True) for name, found in states.items()}
    down = sorted(name for name, found in states.items() if found.status == "down")
    members = {"dependencies": shown, "audit": state.auditor.health().model_dump()}
    if not down:
        return JSONResponse({"status": "ready", **members})
    return problem_response(
        503,
        f"Not ready: {', '.join(down)} down.",
        hint="`atalaia doctor` says more.",
        headers={"Retry-After": "2"},
        extra=members,
    )


@router.get(
    "/metrics",
    summary="Prometheus metrics of this replica",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        404: {
            "description": "`api.metrics.public` is false.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
)
async def metrics(state: StateDep) -> Response:
    if not state.deps.settings.api.metrics.public:
        raise NotFoundError("Metrics are not shown on this port.", hint=ELSEWHERE)
    return Response(state.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
