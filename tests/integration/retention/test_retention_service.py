"""The sweeper as the controller starts it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from pydantic import SecretStr

from cluster.core.retention_settings import RetentionSettings
from cluster.core.settings import BlobSettings, DatabaseSettings, Settings
from cluster.retention.service import RetentionService
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


async def _gone(site: Site, tenant: str) -> None:
    deadline = time.monotonic() + 60
    while await site.recordings(tenant):
        assert time.monotonic() < deadline, "nothing was removed"
        await asyncio.sleep(0.05)


async def test_it_works_from_the_start_and_goes_on(site: Site) -> None:
    keys = {tenant: await site.recording(40, tenant) for tenant in ("acme", "globex")}
    service = RetentionService(make_settings(site.folder), site.database, site.clock)
    for tenant in keys:
        await _gone(site, tenant)
    await site.recording(50, "acme")
    await _gone(site, "acme")
    assert service.running
    for _ in range(2):
        await service.aclose()
    assert not service.running
    assert site.files("acme") == site.files("globex") == set()


async def test_a_wrong_storage_ends_nothing_else(site: Site) -> None:
    await site.recording(40)
    settings = make_settings(site.folder, "nonsense://x")
    service = RetentionService(settings, site.database, site.clock)
    await asyncio.sleep(0)
    assert service.running
    await service.aclose()
    assert len(await site.recordings()) == 1
