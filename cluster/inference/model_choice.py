"""Which weights the platform chose while running, for detectors that start later."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError
from redis.asyncio import Redis

from cluster.core.log import get_logger
from cluster.stores.bus.connection import redis_errors
from cluster.stores.bus.keys import MODEL_KEY
from pipelines.domain import Frozen

_LOG = get_logger("bus.model_choice")


class _Choice(Frozen):
    version: Literal[1] = 1
    weights: str
    instead_of: str


class ModelChoice:
    """One value for the whole cluster, which stands until the settings name other weights.

    So what was put in place by `PUT /v1/model` outlives restarts, and an operator who then edits
    `detector.weights` gets what the file says.

    Args:
        redis: from `open_redis`; stays the caller's to close.
        configured: `detector.weights` of the settings.
    """

    def __init__(self, redis: Redis, configured: str) -> None:
        self._redis = redis
        self._configured = configured

    async def choose(self, weights: str) -> None:
        """From now on `weights`; the configured ones end the choice. Raises UnavailableError."""
        with redis_errors():
            if weights == self._configured:
                await self._redis.delete(MODEL_KEY)
                return
            choice = _Choice(weights=weights, instead_of=self._configured)
            await self._redis.set(MODEL_KEY, choice.model_dump_json())

    async def current(self) -> str:
        """The weights that a detector is to run. Raises UnavailableError."""
        with redis_errors():
            kept = await self._redis.get(MODEL_KEY)
        if kept is None:
            return self._configured
        try:
            choice = _Choice.model_validate_json(kept)
        except ValidationError:
            _LOG.warning("the kept choice of a model cannot be read", key=MODEL_KEY)
            return self._configured
        return choice.weights if choice.instead_of == self._configured else self._configured
