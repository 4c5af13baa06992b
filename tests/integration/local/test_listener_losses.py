"""The listener's process says what it could not record."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis

from cluster.core.settings import RedisSettings, Settings
from cluster.runtime.services import ListenerService
from cluster.stores.bus.keys import alarms_key
from cluster.stores.bus.stream import FIELD
from cluster.stores.db import Database, migrate

PATIENCE_S = 60


async def test_what_the_records_cannot_take_is_said(
    tmp_path: Path, valkey: str, redis_client: Redis
) -> None:
    settings = Settings(data_dir=tmp_path, redis=RedisSettings(url=SecretStr(valkey)))
    await migrate(settings.database_url)
    async with Database(settings.database_url) as database:
        await database.platform().ensure_tenant("acme", "Acme")
    service = ListenerService(settings)
    assert await service.losses() is None
    await redis_client.xadd(alarms_key("acme"), {FIELD: b"garbage"})
    async with asyncio.timeout(PATIENCE_S):
        while await service.losses() is None:  # noqa: ASYNC110 - it is told by nobody
            await asyncio.sleep(0.05)
    assert await service.losses() == "not recorded: alarms 1 (dead)"
    await service.aclose()
