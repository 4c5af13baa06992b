"""Calls to the models: bounded in time, with errors of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from ray.exceptions import RayError

from agents import models
from agents.models import ModelCalls
from cluster.core.work_orders import Purpose
from pipelines.attention import Urgency
from pipelines.domain import Crop, Detections, WorkOwner
from pipelines.errors import InputError, StaleFrameError, UnavailableError
from pipelines.imaging import letterbox_i420
from tests.factories import ORDERS, make_sighting
from tests.unit.agents.host_parts import INPUT, ONE_PERSON, make_image

FRAME = letterbox_i420(make_image(), INPUT)
OWNER = WorkOwner("acme", "gate")
CROP = Crop(np.zeros((8, 8, 3), np.uint8), make_sighting())


def calls(remote: Callable[..., Awaitable[Any]]) -> ModelCalls:
    handle = cast("Any", SimpleNamespace(remote=remote))
    deployment = cast("Any", SimpleNamespace(detect=handle, remember=handle))
    return ModelCalls(deployment, deployment, INPUT, ORDERS)


async def test_what_the_models_get_and_answer() -> None:
    asked: list[Any] = []

    async def remote(*arguments: Any) -> Detections:
        asked.append(arguments)
        return ONE_PERSON

    models = calls(remote)
    assert await models.detect(FRAME, OWNER, Urgency.NEW) is ONE_PERSON
    await models.remember(CROP)
    (frame, detects, urgency), (crop, remembers) = asked
    assert (frame, crop, urgency) == (FRAME, CROP, 4)
    assert ORDERS.check(detects, Purpose.DETECT) == OWNER
    assert ORDERS.check(remembers, Purpose.REMEMBER) == OWNER


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (RayError("the replica died"), UnavailableError),
        (InputError("another size"), InputError),
        (StaleFrameError("it waited"), StaleFrameError),
    ],
)
async def test_errors_are_ours(raised: Exception, seen: type[Exception]) -> None:
    async def remote(*_: Any) -> None:
        raise raised

    with pytest.raises(seen):
        await calls(remote).detect(FRAME, OWNER, Urgency.NEW)
    with pytest.raises(seen):
        await calls(remote).remember(CROP)


async def test_a_model_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "DETECT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(models, "REMEMBER_TIMEOUT_S", 0.01)

    async def remote(*_: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(UnavailableError, match="detector"):
        await calls(remote).detect(FRAME, OWNER, Urgency.NEW)
    with pytest.raises(UnavailableError, match="embedder"):
        await calls(remote).remember(CROP)
