"""The sweeper as the controller starts it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis

from cluster.core.retention_settings import RetentionSettings
from cluster.core.settings import BlobSettings, DatabaseSettings, Settings
from cluster.retention.service import RetentionService
from pipelines.domain import CameraKey, SystemKind
from tests.factories import SIGNED
from tests.integration.retention.site import Site


def make_settings(folder: Path, url: str | None = None) -> Settings:
    return Settings(
        data_dir=folder,
        ray=SIGNED,
        database=DatabaseSettings(url=SecretStr(f"sqlite:///{folder}/atalaia.db")),
        blobs=BlobSettings(url=url or f"file://{folder}/blobs"),
        retention=RetentionSettings.model_validate({"days": {"recordings": 30}, "interval_s": 1}),
    )


async def _nobody(key: CameraKey, kind: SystemKind, since_us: int) -> None:
    raise AssertionError(f"an alarm: {key} {kind} {since_us}")


def _service(site: Site, settings: Settings, redis: Redis) -> RetentionService:
    return RetentionService(settings, site.database, redis, _nobody, site.clock)


async def _gone(site: Site, tenant: str) -> None:
    deadline = time.monotonic() + 60
    while await site.recordings(tenant):
        assert time.monotonic() < deadline, "nothing was removed"
        await asyncio.sleep(0.05)


async def test_it_works_from_the_start_and_goes_on(site: Site, redis_client: Redis) -> None:
    keys = {tenant: await site.recording(40, tenant) for tenant in ("acme", "globex")}
    service = _service(site, make_settings(site.folder), redis_client)
    for tenant in keys:
        await _gone(site, tenant)
    await site.recording(50, "acme")
    await _gone(site, "acme")
    assert service.running
    for _ in range(2):
        await service.aclose()
    assert not service.running
    assert site.files("acme") == site.files("globex") == set()


async def test_a_wrong_storage_ends_nothing_else(site: Site, redis_client: Redis) -> None:
    await site.recording(40)
    settings = make_settings(site.folder, "nonsense://x")
    service = _service(site, settings, redis_client)
    await asyncio.sleep(0)
    assert service.running
    await service.aclose()
    assert len(await site.recordings()) == 1
