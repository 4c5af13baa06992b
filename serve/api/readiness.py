"""Whether what the API depends on answers, with a short memory of the answers."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from cluster.core.log import get_logger
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError
from serve.api.fields import ResponseBody
from serve.api.ports import Deps, Probe

# Orchestrators probe every few seconds and give up after 5 to 10.
PROBE_TIMEOUT_S = 2.0

# Anybody may call, so the result is shared: a flood of requests is no flood of probes.
READY_TTL_S = 1.0

log = get_logger("api.health")


class DependencyState(ResponseBody):
    status: Literal["up", "down"]
    ms: float
    detail: str | None = Field(
        None, description="Why it is down; or, where it is up, what it has to say."
    )


class Readiness:
    """Asks every dependency at once, at most once per `READY_TTL_S`."""

    def __init__(self, probes: dict[str, Probe], clock: Clock) -> None:
        self._probes = probes
        self._clock = clock
        self._lock = asyncio.Lock()
        self._states: dict[str, DependencyState] = {}
        self._valid_until: float | None = None

    async def states(self) -> dict[str, DependencyState]:
        async with self._lock:
            if self._valid_until is None or self._clock.monotonic() >= self._valid_until:
                states = await asyncio.gather(*(self._ask(name) for name in self._probes))
                self._states = dict(zip(self._probes, states, strict=True))
                self._valid_until = self._clock.monotonic() + READY_TTL_S
            return self._states

    async def _ask(self, name: str) -> DependencyState:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                said = await self._probes[name]()
        except Exception as error:  # noqa: BLE001 -- whatever a client library raises, it is down
            return self._state(began, "down", _trouble(name, error))
        return self._state(began, "up", said if isinstance(said, str) else None)

    def _state(
        self, began: float, status: Literal["up", "down"], detail: str | None
    ) -> DependencyState:
        ms = round((self._clock.monotonic() - began) * 1_000, 2)
        return DependencyState(status=status, ms=ms, detail=detail)


def _trouble(name: str, error: Exception) -> str:
    """Why a dependency is down, in words that hold no address."""
    if isinstance(error, TimeoutError):
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    if isinstance(error, AtalaiaError):
        log.warning("dependency down", dependency=name, error=str(error))
        return error.code
    log.warning("dependency down", dependency=name, error=repr(error))
    return type(error).__name__


def standard_probes(deps: Deps) -> dict[str, Probe]:
    """The dependencies that every API process has, and those that its builder named."""

    async def database() -> None:
        await deps.database.platform().tenants()

    async def redis() -> None:
        await deps.redis.ping()

    return {"database": database, "redis": redis, **deps.probes}
