"""The chosen model on a real server: what a detector that starts later is told."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from cluster.inference.model_choice import ModelChoice
from cluster.stores.bus import open_redis
from cluster.stores.bus.keys import MODEL_KEY
from pipelines.errors import UnavailableError

CONFIGURED, OTHER = "yolov8n.pt", "/models/mine.pt"


async def test_without_a_choice_the_settings_say(redis_client: Redis) -> None:
    assert await ModelChoice(redis_client, CONFIGURED).current() == CONFIGURED


async def test_a_choice_is_seen_by_whoever_starts_later(redis_client: Redis) -> None:
    await ModelChoice(redis_client, CONFIGURED).choose(OTHER)
    assert await ModelChoice(redis_client, CONFIGURED).current() == OTHER


async def test_new_weights_in_the_settings_end_the_choice(redis_client: Redis) -> None:
    await ModelChoice(redis_client, CONFIGURED).choose(OTHER)
    assert await ModelChoice(redis_client, "edited.pt").current() == "edited.pt"


async def test_choosing_what_is_configured_leaves_nothing_behind(redis_client: Redis) -> None:
    choice = ModelChoice(redis_client, CONFIGURED)
    await choice.choose(OTHER)
    await choice.choose(CONFIGURED)
    assert await redis_client.exists(MODEL_KEY) == 0
    assert await choice.current() == CONFIGURED


@pytest.mark.parametrize("kept", ["", "{}", '{"version": 2, "weights": "x", "instead_of": "y"}'])
async def test_what_cannot_be_read_counts_for_nothing(redis_client: Redis, kept: str) -> None:
    await redis_client.set(MODEL_KEY, kept)
    assert await ModelChoice(redis_client, CONFIGURED).current() == CONFIGURED


async def test_a_server_that_is_away_is_told() -> None:
    async with open_redis("redis://127.0.0.1:1/0") as nobody:
        with pytest.raises(UnavailableError):
            await ModelChoice(nobody, CONFIGURED).current()
        with pytest.raises(UnavailableError):
            await ModelChoice(nobody, CONFIGURED).choose(OTHER)
