"""The listener's process anchors the audit log by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import SecretStr

from cluster.core.settings import AuditSettings, RedisSettings, Settings
from cluster.runtime.services import ListenerService
from cluster.stores.audit.anchors import AnchorKeys, by_chain, read_anchors
from cluster.stores.db import Database, migrate
from tests.unit.cluster.stores.audit.chains import make_event


async def _anchored(settings: Settings) -> dict[str, set[int]]:
    path = settings.anchor_dir / "anchors.jsonl"
    if not await asyncio.to_thread(path.exists):
        return {}
    known = by_chain(await asyncio.to_thread(lambda: list(read_anchors(path))), KEYS)
    return {chain: set(hashes) for chain, hashes in known.items()}


async def _wait_for(settings: Settings, wanted: dict[str, set[int]]) -> None:
    for _ in range(400):
        if await _anchored(settings) == wanted:
            return
        await asyncio.sleep(0.02)
    assert await _anchored(settings) == wanted


SECRET = SecretStr("a-secret-of-the-anchors-0123456789")
KEYS = AnchorKeys(SECRET)


async def test_the_listener_anchors_each_chain_that_grows(tmp_path: Path, valkey: str) -> None:
    settings = Settings(
        data_dir=tmp_path,
        redis=RedisSettings(url=SecretStr(valkey)),
        audit=AuditSettings(secret=SECRET, anchor_interval_s=1),
    )
    await migrate(settings.database_url)
    async with Database(settings.database_url) as database:
        await database.audit("acme").append([make_event(n) for n in range(3)])
        service = ListenerService(settings)
        await _wait_for(settings, {"acme": {3}})
        await database.audit("acme").append([make_event(3)])
        await database.platform_audit().append([make_event(0)])
        await _wait_for(settings, {"acme": {3, 4}, "": {1}})
        assert await service.ping()
        await service.aclose()


async def test_without_a_secret_the_listener_goes_on(tmp_path: Path, valkey: str) -> None:
    settings = Settings(data_dir=tmp_path, redis=RedisSettings(url=SecretStr(valkey)))
    await migrate(settings.database_url)
    service = ListenerService(settings)
    await asyncio.sleep(0.5)
    assert await service.ping()
    assert await _anchored(settings) == {}
    await service.aclose()
