"""`atalaia recordings mask`, as an operator runs it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.core.settings import Settings
from cluster.recording.shipper import segment_of
from cluster.stores.audit.events import AuditQuery
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import CameraChanges, Database, migrate
from pipelines.domain import Segment
from tests.factories import CIPHER, T0_US, make_alarm, make_camera
from tests.recorded import segments_of, units

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two recordings of acme's gate, which has no masks yet."""
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    chosen = Settings()
    (tmp_path / "data").mkdir()

    async def prepare() -> None:
        await migrate(chosen.database_url)
        async with (
            Database(chosen.database_url, cipher=CIPHER) as database,
            TenantBlobs(chosen.blob_url, "acme") as blobs,
        ):
            await database.platform().ensure_tenant("acme", "Acme")
            await database.tenant("acme").add_camera(make_camera())
            for file in segments_of(tmp_path / "made", units(40, T0_US), per_segment=20):
                row = segment_of("gate", file)
                await blobs.put_file(row.blob, file.path)
                await database.recordings("acme").add(row)

    asyncio.run(prepare())
    return chosen


def run(*options: str) -> Result:
    words = ["recordings", "mask", "--tenant", "acme", "--camera", "gate", *options]
    return CliRunner().invoke(app, words)


def mask(settings: Settings) -> None:
    async def change() -> None:
        async with Database(settings.database_url, cipher=CIPHER) as database:
            await database.tenant("acme").update_camera("gate", CameraChanges(masks=(LEFT,)))

    asyncio.run(change())


async def stored(settings: Settings) -> tuple[list[Segment], list[tuple[str, object]]]:
    """The recordings, and what the audit log says of masks: states and numbers of recordings."""
    async with Database(settings.database_url, cipher=CIPHER) as database:
        rows = await database.recordings("acme").between("gate", 0, 2**62, limit=10)
        page = await database.audit("acme").page(AuditQuery())
        entries = [e for e in reversed(page.items) if e.action == "masks.paint"]
        assert all(entry.object_id == "gate" for entry in entries)
        return rows, [(str(e.details["state"]), e.details["recordings"]) for e in entries]


def test_masks_are_painted_and_it_is_logged(settings: Settings) -> None:
    refused = run()
    assert refused.exit_code == 2
    assert "camera gate has no privacy masks" in refused.stderr
    mask(settings)
    planned = run("--dry-run")
    assert (planned.exit_code, planned.stdout) == (
        0,
        "to do: 2 recordings, 0 alarms with pictures or clips, 0 pictures of objects\n",
    )
    assert asyncio.run(stored(settings))[1] == []
    done = run()
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        "masks painted into 2 recordings, 0 clips and 0 pictures of alarms; "
        "0 pictures of objects removed\n"
    )
    rows, logged = asyncio.run(stored(settings))
    assert [row.masked for row in rows] == [True, True]
    assert logged == [("begun", 0), ("ended", 2)]


def test_what_stays_unmasked_is_reported(settings: Settings) -> None:
    mask(settings)
    [first, _], _ = asyncio.run(stored(settings))
    (settings.data_dir / "data" / "blobs" / "acme" / first.blob).write_bytes(b"something else")
    done = run()
    assert done.exit_code == 1
    assert "masks painted into 1 recordings" in done.stdout
    assert f"{first.blob}: a segment of the recording was changed in storage" in done.stderr


def test_nothing_counts_as_masked_while_the_disk_is_away(settings: Settings) -> None:
    """The picture of an alarm that is not found has none, and would be open once the disk is
    back."""
    alarm = make_alarm(1, camera="gate", snapshot="alarms/1.jpg")

    async def add() -> None:
        async with Database(settings.database_url, cipher=CIPHER) as database:
            await database.tenant("acme").record_alarms([alarm])

    async def marked() -> int | None:
        async with Database(settings.database_url, cipher=CIPHER) as database:
            return (await database.tenant("acme").alarm(alarm.id)).masks_us

    asyncio.run(add())
    mask(settings)
    folder = settings.data_dir / "data" / "blobs"
    away = folder.rename(folder.with_name("away"))
    folder.mkdir()
    done = run()
    assert done.exit_code != 0
    assert "empty or not mounted" in done.stderr
    assert asyncio.run(marked()) is None
    folder.rmdir()
    away.rename(folder)
    assert run().exit_code == 0
    assert asyncio.run(marked()) is not None
