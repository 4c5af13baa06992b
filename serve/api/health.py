"""`/healthz`, `/readyz`, `/metrics`: for load balancers, orchestrators and Prometheus.

Open to everybody who can reach the port, so they name dependencies but never their addresses.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from cluster.core.log import get_logger
from pipelines.errors import AtalaiaError
from serve.api.auth import DepsDep
from serve.api.fields import ResponseBody
from serve.api.metrics import Metrics
from serve.api.ports import Probe
from serve.api.problems import MEDIA_TYPE, problem_response

router = APIRouter(tags=["health"])

# Orchestrators ask every few seconds and give up after 5 to 10.
PROBE_TIMEOUT_S = 2.0

# Anybody may ask, so the answer is shared: a flood of questions is no flood of probes.
READY_TTL_S = 1.0

log = get_logger("api.health")


class Alive(ResponseBody):
    status: Literal["alive"] = "alive"


class DependencyState(ResponseBody):
    status: Literal["up", "down"]
    ms: float
    detail: str | None = None


class Ready(ResponseBody):
    status: Literal["ready"] = "ready"
    dependencies: dict[str, DependencyState]


class Readiness:
    """Asks every dependency at once, at most once per `READY_TTL_S`."""

    def __init__(self, probes: dict[str, Probe]) -> None:
        self._probes = probes
        self._lock = asyncio.Lock()
        self._states: dict[str, DependencyState] = {}
        self._valid_until = 0.0

    async def states(self) -> dict[str, DependencyState]:
        async with self._lock:
            if time.monotonic() >= self._valid_until:
                states = await asyncio.gather(*(self._ask(name) for name in self._probes))
                self._states = dict(zip(self._probes, states, strict=True))
                self._valid_until = time.monotonic() + READY_TTL_S
            return self._states

    async def _ask(self, name: str) -> DependencyState:
        begin = time.perf_counter()
        detail = None
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._probes[name]()
        except TimeoutError:
            detail = f"no answer within {PROBE_TIMEOUT_S:g} s"
        except AtalaiaError as error:
            log.warning("dependency down", dependency=name, error=str(error))
            detail = error.code
        except Exception as error:  # noqa: BLE001 -- whatever a client library raises, it is down
            log.warning("dependency down", dependency=name, error=repr(error))
            detail = type(error).__name__
        ms = round((time.perf_counter() - begin) * 1_000, 2)
        return DependencyState(status="down" if detail else "up", ms=ms, detail=detail)


@router.get("/healthz", summary="Is this process alive?")
async def healthz() -> Alive:
    return Alive()


@router.get(
    "/readyz",
    summary="Can it serve?",
    response_model=Ready,
    responses={
        503: {
            "description": "At least one dependency is down; `dependencies` as in the 200 answer.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
)
async def readyz(request: Request) -> JSONResponse:
    readiness: Readiness = request.app.state.readiness
    states = await readiness.states()
    shown = {name: state.model_dump(exclude_none=True) for name, state in states.items()}
    down = sorted(name for name, state in states.items() if state.status == "down")
    if not down:
        return JSONResponse({"status": "ready", "dependencies": shown})
    return problem_response(
        503,
        f"Not ready: {', '.join(down)} down.",
        hint="`atalaia doctor` says more.",
        headers={"Retry-After": "2"},
        extra={"dependencies": shown},
    )


@router.get(
    "/metrics",
    summary="Prometheus metrics of this replica",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    known: Metrics = request.app.state.metrics
    return Response(
        generate_latest(known.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
    )


def standard_probes(deps: DepsDep) -> dict[str, Probe]:
    """The dependencies that every API process has, and those that its builder named."""

    async def database() -> None:
        await deps.database.platform().tenants()

    async def redis() -> None:
        await deps.redis.ping()

    return {"database": database, "redis": redis, **deps.probes}
