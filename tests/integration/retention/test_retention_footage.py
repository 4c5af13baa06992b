"""A folder that is empty, not mounted, or has lost its files: nothing leaves the index."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.recording.footage import FootageGuard
from cluster.retention.disk import of_marked
from cluster.stores.blobs.folder import MARKER, StorageFolder
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.domain import Segment
from pipelines.errors import UnavailableError
from pipelines.footage import Census
from pipelines.retention import SpaceState, Usage
from tests.integration.retention.site import Site

FULL = Usage(used=950_000, total=1_000_000)
MINUTE = 1 / 1440
MANY, LEFT = 110, 5
"""Recordings of acme, and how many of them outlast what happens to the files."""


class Guarded:
    """The site's sweeper and storages, guarded as the service guards them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.root = site.folder / "blobs"
        self.folder = StorageFolder(self.root)
        self.restart()

    def restart(self) -> None:
        self.guard = FootageGuard(
            self.folder, self.site.database.platform().at_home, self.site.database.recordings
        )
        for tenant in self.site.blobs:
            self.site.blobs[tenant] = TenantBlobs(
                f"file://{self.root}",
                tenant,
                before=self.folder.require_marked,
                permit=partial(self.guard.permit, tenant),
            )

    async def close(self) -> None:
        for blobs in self.site.blobs.values():
            await blobs.aclose()

    async def round(self, quotas: Mapping[str, int] | None = None) -> None:
        """One run that would remove what is older than half a day, on a disk above its mark."""
        sweeper = self.site.sweeper(
            probe=of_marked(self.folder, lambda: FULL),
            quotas=quotas,
            guard=self.guard,
            days={"recordings": 0.5},
            high_water=0.9,
            low_water=0.85,
        )
        await sweeper.round()

    async def index(self, tenant: str = "acme") -> int:
        return len(await self.site.recordings(tenant))


async def fill(site: Site, number: int = MANY, tenant: str = "acme") -> list[str]:
    """Recordings of a day ago, without going through a storage: that is quicker."""
    found = []
    for n in range(number):
        end_us = site.at_us(1 + n * MINUTE)
        key = f"recordings/gate/{end_us}.mp4"
        segment = Segment(
            camera="gate", start_us=end_us - 1_000_000, end_us=end_us, origin_us=end_us,
            codec="h264", width=640, height=360, frames=1, size=10, sha256="0" * 64, blob=key,
        )  # fmt: skip
        await site.database.recordings(tenant).add(segment)
        path = site.folder / "blobs" / tenant / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10))
        found.append(key)
    return found


@pytest.fixture
async def guarded(site: Site) -> AsyncIterator[Guarded]:
    for blobs in site.blobs.values():
        await blobs.aclose()
    guarded = Guarded(site)
    yield guarded
    await guarded.close()


async def test_the_folder_is_marked_when_it_is_first_used(guarded: Guarded) -> None:
    await guarded.guard.look()
    assert (guarded.root / MARKER).is_file()
    assert not guarded.guard.away


async def test_a_folder_with_footage_of_an_earlier_version_is_marked(guarded: Guarded) -> None:
    await fill(guarded.site, 3)
    await guarded.guard.look()
    assert (guarded.root / MARKER).is_file()
    assert not guarded.guard.away


@pytest.mark.parametrize("marked", [True, False])
async def test_of_a_folder_that_is_not_mounted_nothing_leaves_the_index(
    guarded: Guarded, marked: bool
) -> None:
    """By age, space and quota; and when it is mounted again, all goes on. `marked`: whether it was
    there when this version was first started."""
    await fill(guarded.site, 3)
    if marked:
        await guarded.guard.look()
    guarded.root.rename(guarded.site.folder / "disk")
    guarded.root.mkdir()
    guarded.restart()
    await guarded.round(quotas={"acme": 1})
    assert guarded.guard.away
    assert await guarded.index() == 3
    assert list(guarded.root.iterdir()) == []
    (run,) = await guarded.site.database.retention("acme").runs()
    assert not run.complete
    assert "empty or not mounted" in run.error
    assert guarded.site.seen.states == [SpaceState.OK]
    with pytest.raises(UnavailableError, match="empty or not mounted"):
        await guarded.site.blobs["acme"].put("alarms/1.jpg", b"a picture")

    guarded.root.rmdir()
    (guarded.site.folder / "disk").rename(guarded.root)
    await guarded.round()
    assert not guarded.guard.away
    assert await guarded.index() == 0
    assert [p.name for p in guarded.root.rglob("*") if p.is_file()] == [MARKER]


async def test_a_full_disk_that_cannot_be_marked_is_still_relieved(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(guarded.site, 3)

    def full() -> None:
        raise UnavailableError("the folder cannot be marked: No space left on device.")

    monkeypatch.setattr(guarded.folder, "mark", full)
    await guarded.round()
    assert await guarded.index() == 0


async def test_a_breaker_stops_what_would_empty_the_index(guarded: Guarded) -> None:
    """The marker is there, and most files are gone. Another tenant's retention goes on."""
    keys = await fill(guarded.site)
    await fill(guarded.site, 2, "globex")
    await guarded.guard.look()
    kept = guarded.site.folder / "kept"
    shutil.copytree(guarded.root / "acme", kept)
    for key in keys[:-LEFT]:
        (guarded.root / "acme" / key).unlink()
    await guarded.round()
    assert guarded.guard.lost == {"acme": Census(MANY, MANY - LEFT)}
    assert await guarded.index() == MANY
    assert await guarded.index("globex") == 0
    (run,) = await guarded.site.database.retention("acme").runs()
    assert "105 of 110 recorded files are gone" in run.error

    shutil.copytree(kept, guarded.root / "acme", dirs_exist_ok=True)
    await guarded.round()
    assert guarded.guard.lost == {}
    assert await guarded.index() == 0


async def test_files_that_a_killed_run_removed_do_not_stop_the_next(guarded: Guarded) -> None:
    """A batch of 64 things may be gone while their rows are not."""
    keys = await fill(guarded.site, 100)
    await guarded.guard.look()
    for key in keys[-64:]:
        (guarded.root / "acme" / key).unlink()
    await guarded.round()
    assert await guarded.index() == 0


async def test_a_loss_in_the_middle_is_found_when_it_is_reached(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run looks at first is the ends of the index. Here they are there, and the rest is
    gone: before the first missing file is forgotten, all are counted."""
    monkeypatch.setattr("cluster.recording.footage.SAMPLE", 2)
    keys = await fill(guarded.site)
    for key in keys[2:-2]:
        (guarded.root / "acme" / key).unlink()
    await guarded.round()
    # Eight at a time: while all are counted, the two oldest may go, with their rows.
    assert guarded.guard.lost["acme"].missing in range(MANY - 4, MANY - 1)
    assert MANY - 2 <= await guarded.index() <= MANY


def test_only_a_local_folder_is_marked(tmp_path: Path) -> None:
    found = StorageFolder.of(f"file://{tmp_path}/blobs")
    assert found is not None
    assert found.path == tmp_path / "blobs"
    assert StorageFolder.of("memory://x") is None
    assert StorageFolder.of("nonsense://x") is None


async def test_what_is_gone_for_good_is_confirmed_on_the_command_line(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = await fill(guarded.site, 3)
    await guarded.guard.look()
    (guarded.root / "acme" / keys[0]).rename(guarded.site.folder / "kept.mp4")
    shutil.rmtree(guarded.root)
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(guarded.site.folder))
    monkeypatch.setenv("ATALAIA_BLOBS__URL", f"file://{guarded.root}")
    url = f"sqlite:///{guarded.site.folder}/atalaia.db"
    monkeypatch.setenv("ATALAIA_DATABASE__URL", url)

    async def atalaia(*words: str, answer: str = "") -> Result:
        arguments = ["recordings", *words]
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=answer)

    shown = await atalaia("status", "--json")
    assert shown.exit_code == 1
    report = json.loads(shown.stdout)
    assert not report["ours"]
    assert report["tenants"]["acme"] == {"known": 3, "missing": 3}
    assert (await atalaia("confirm-loss", answer="n\n")).exit_code == 1
    assert await guarded.index() == 3

    back = guarded.root / "acme" / keys[0]
    back.parent.mkdir(parents=True)
    (guarded.site.folder / "kept.mp4").rename(back)
    done = await atalaia("confirm-loss", "--tenant", "acme", "--yes")
    assert done.exit_code == 0, done.output
    assert "2 recordings forgotten" in done.output
    assert await guarded.site.recordings() == {keys[0]}
    assert await guarded.site.audited("acme", "retention.remove") == [{"recordings": 2}]
    shown = await atalaia("status")
    assert (shown.exit_code, "acme: 0 of 1 files are missing" in shown.output) == (0, True)
    wrong = await atalaia("status", "--tenant", "nobody")
    assert wrong.exit_code == 2
