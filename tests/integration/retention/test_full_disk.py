"""A disk that is really full: a file system of 4 MB, on which only the files lie."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster.core.retention_settings import RetentionSettings
from cluster.recording.footage import FootageGuard
from cluster.retention.disk import disk_usage, of_marked
from cluster.stores.blobs.folder import MARKER, StorageFolder
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.errors import UnavailableError
from pipelines.retention import SpaceState
from tests.integration.retention.site import Site
from tests.integration.retention.test_storage_alarms import RECORDING, Watch

MB = 1_000_000
SIZE_MB = 4
MINUTE = 1 / 1440


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mounted where the blobs of the site lie."""
    folder = tmp_path / "blobs"
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
async def guard(site: Site, small_disk: Path) -> FootageGuard:
    folder = StorageFolder(small_disk)
    guard = FootageGuard(folder, site.database.platform().at_home, site.database.recordings)
    for tenant, blobs in site.blobs.items():
        await blobs.aclose()
        site.blobs[tenant] = TenantBlobs(
            f"file://{small_disk}",
            tenant,
            before=folder.require_marked,
            permit=partial(guard.permit, tenant),
        )
    return guard


async def _fill(site: Site) -> list[str]:
    """Recordings of half a MB, a minute apart, until one does not fit; their keys, oldest first."""
    keys = list[str]()
    while shutil.disk_usage(site.folder / "blobs").free >= MB // 2:
        site.clock.advance(60)
        keys.append(await site.recording(0, size=MB // 2))
    with pytest.raises(UnavailableError, match="No space left"):
        await site.recording(0, size=MB // 2)
    return keys


async def test_the_oldest_goes_the_next_fits_and_an_alarm_is_raised(
    site: Site, guard: FootageGuard, small_disk: Path
) -> None:
    await guard.look()
    keys = await _fill(site)
    assert len(keys) == 8
    site.clock.advance(3_600)
    watch = Watch(site)
    watch.boards["acme"] = {"gate": RECORDING}
    probe = of_marked(StorageFolder(small_disk), partial(disk_usage, small_disk))
    await site.sweeper(probe=probe, guard=guard, high_water=0.9, low_water=0.8).round()
    # Said before anything goes, and at the end.
    assert site.seen.states == [SpaceState.REMOVING, SpaceState.REMOVING]
    # 4 MiB hold 8 of them; down to 0.8 of it are 6.
    assert await site.recordings() == set(keys[2:])
    watch.alarms.space(disk_usage(small_disk), site.seen.states[-1])
    await watch.alarms.check()
    assert [(room, kind) for room, kind, _ in watch.sent] == [("acme.atalaia-storage", "disk")]
    # Live goes on: the next file and the next picture fit.
    young = await site.recording(0, size=MB // 2)
    await site.blobs["acme"].put("alarms/1.jpg", b"a picture")
    assert young in await site.recordings()
    assert {"alarms/1.jpg", young} <= site.files()


async def test_a_full_disk_of_an_earlier_version_is_relieved_and_marked(
    site: Site, guard: FootageGuard, small_disk: Path
) -> None:
    """There is no room for the marker before the oldest is gone."""
    await guard.look()
    await _fill(site)
    (small_disk / MARKER).unlink()
    (small_disk / "rest").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    assert shutil.disk_usage(small_disk).free == 0
    site.clock.advance(3_600)
    probe = partial(disk_usage, small_disk)
    sweeper = site.sweeper(probe=probe, guard=guard, high_water=0.9, low_water=0.8)
    await sweeper.round()
    assert not guard.away
    # 4 MiB less than 0.8 of it is 0.84 MB: two files.
    assert len(await site.recordings()) == 6
    await sweeper.round()
    assert (small_disk / MARKER).is_file()


def test_a_mark_without_removal_is_a_setting() -> None:
    assert RetentionSettings().high_water is None
    assert RetentionSettings(warn_at=0.9).warn_at == 0.9
    with pytest.raises(ValueError, match="less than 1"):
        RetentionSettings(warn_at=1.0)
