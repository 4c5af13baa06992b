"""Recordings wait on the bridge's disk while the folder of all recordings is not mounted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from cluster.recording.footage import FootageGuard
from cluster.recording.shipper import Shipper
from cluster.stores.blobs.folder import MARKER, StorageFolder
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import AlarmLag
from tests.integration.recording.site import GRACE_S, Site, open_site


def _guarded(site: Site, root: Path, redis: Redis) -> Shipper:
    """As the bridge makes it."""
    folder = StorageFolder(root)
    guard = FootageGuard(folder, site.database.platform().at_home, site.database.recordings)
    return Shipper(
        site.outbox,
        site.database,
        partial(TenantBlobs, site.url, before=folder.require_marked),
        AlarmLag(redis).waiting_s,
        grace_s=GRACE_S,
        clock=site.clock,
        claim=guard.claim,
    )


async def test_files_wait_until_the_folder_is_mounted_again(
    tmp_path: Path, redis_client: Redis
) -> None:
    """Also for a bridge that was started meanwhile."""
    root = tmp_path / "blobs"
    async with open_site(tmp_path, f"file://{root}", redis_client) as site:
        first = site.record()
        shipper = _guarded(site, root, redis_client)
        assert await shipper.round()
        assert (root / MARKER).is_file()
        root.rename(tmp_path / "disk")
        root.mkdir()
        second = site.record(loop=1)
        started = _guarded(site, root, redis_client)
        for each in (shipper, started):
            assert not await each.round()
            assert "empty or not mounted" in each.problem
        assert len(site.files) == 1
        assert list(root.iterdir()) == []
        assert await site.rows() == [first]
        root.rmdir()
        (tmp_path / "disk").rename(root)
        assert await started.round()
        assert started.problem == ""
        assert await site.rows() == [first, second]
        await shipper.aclose()
        await started.aclose()
