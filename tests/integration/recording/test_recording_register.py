"""MediaMTX's recordings become rows and blobs. Broken files are reported and skipped."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.core.settings import Settings
from cluster.recording.register import start_us
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.db import Database, migrate
from pipelines.domain import Segment
from pipelines.errors import InputError
from pipelines.times import to_us
from tests.factories import CIPHER, make_camera

MASK = (((0.0, 0.0), (0.5, 0.0), (0.5, 0.5)),)


def record(path: Path, seconds: int = 3) -> None:
    """A file as MediaMTX writes it: fragmented MP4 with audio, one fragment per second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "25"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for n in range(seconds * 25):
            frame = av.VideoFrame.from_ndarray(np.full((144, 160), n, np.uint8), "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(video.encode(frame))
            samples = av.AudioFrame.from_ndarray(
                np.zeros((1, 1_920), np.float32), "fltp", layout="mono"
            )
            samples.rate, samples.pts, samples.time_base = 48_000, n * 1_920, Fraction(1, 48_000)
            container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


@pytest.mark.parametrize(
    ("began", "expected"),
    [
        # Lisbon sets its clocks back at 01:00 UTC on 25 October: 01:30 comes twice.
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 1, 41, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        # A copy.
        (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (None, datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_an_hour_that_occurs_twice_is_told_apart_by_when_the_file_was_written(
    began: datetime | None, expected: datetime
) -> None:
    began_us = None if began is None else to_us(began)
    name = "2026-10-25_01-30-00-000000.mp4"
    assert start_us(name, ZoneInfo("Europe/Lisbon"), began_us) == to_us(expected)
    # At any other time the name is enough.
    clear = "2026-10-25_02-30-00-000000.mp4"
    assert start_us(clear, ZoneInfo("Europe/Lisbon"), began_us) == to_us(
        datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("name", "zone", "expected"),
    [
        ("2026-11-25_17-30-00-000123.mp4", "UTC", datetime(2026, 11, 25, 17, 30, 0, 123, UTC)),
        ("2026-11-25_17-30-00-5.mp4", "UTC", datetime(2026, 11, 25, 17, 30, 0, 500_000, UTC)),
        (
            "2026-07-01_00-00-00-000000.mp4",
            "America/Sao_Paulo",
            datetime(2026, 7, 1, 3, 0, 0, 0, UTC),
        ),
    ],
)
def test_the_start_time_is_read_from_the_file_name(
    name: str, zone: str, expected: datetime
) -> None:
    micros = int(expected.timestamp()) * 1_000_000 + expected.microsecond
    assert start_us(name, ZoneInfo(zone)) == micros


@pytest.mark.parametrize("name", ["gate.mp4", "2026-13-01_00-00-00-0.mp4", "2026-11-25_17-30.mp4"])
def test_other_file_names_are_rejected(name: str) -> None:
    with pytest.raises(InputError, match="time"):
        start_us(name, None)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data" / "data").mkdir(parents=True)
    settings = Settings()

    async def prepare() -> None:
        await migrate(settings.database_url)
        async with Database(settings.database_url, cipher=CIPHER) as database:
            await database.platform().ensure_tenant("acme", "Acme")
            await database.tenant("acme").add_camera(make_camera())
            await database.tenant("acme").add_camera(make_camera(id="yard", masks=MASK))

    asyncio.run(prepare())
    return settings


def run(folder: Path, camera: str = "gate", *options: str) -> Result:
    words = ["recordings", "register", "--tenant", "acme", "--camera", camera, str(folder)]
    return CliRunner().invoke(app, [*words, *options])


async def rows(settings: Settings) -> list[Segment]:
    async with Database(settings.database_url) as database:
        return await database.recordings("acme").between(None, 0, 2**60, limit=100)


def test_nothing_is_entered_while_the_disk_is_away(settings: Settings, tmp_path: Path) -> None:
    """It would lie below the mount point, where nobody finds it again."""
    folder = tmp_path / "recordings" / "gate"
    record(folder / "2026-11-25_17-30-00-000250.mp4")
    assert run(folder, "gate", "--timezone", "UTC").exit_code == 0
    blobs = tmp_path / "data" / "data" / "blobs"
    blobs.rename(blobs.with_name("away"))
    record(folder / "2026-11-25_18-30-00-000250.mp4")
    result = run(folder, "gate", "--timezone", "UTC")
    assert result.exit_code != 0
    assert "empty or not mounted" in result.output
    assert not blobs.exists()
    assert len(asyncio.run(rows(settings))) == 1


def test_recordings_are_entered_once_and_broken_ones_reported(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings" / "gate"
    good = folder / "2026-11-25_17-30-00-000250.mp4"
    record(good)
    (folder / "2026-11-25_17-31-00-000000.mp4").write_bytes(b"cut off")
    (folder / "notes.txt").write_text("not a recording")

    for _ in range(2):
        result = run(folder, "gate", "--timezone", "UTC")
        assert result.exit_code == 1
        assert "1 recordings of gate registered" in result.output
        assert "17-31-00" in result.output
        assert "Traceback" not in result.output

    (row,) = asyncio.run(rows(settings))
    first_us = int(datetime(2026, 11, 25, 17, 30, tzinfo=UTC).timestamp()) * 1_000_000 + 250
    assert row.start_us == first_us
    assert row.end_us == pytest.approx(first_us + 3_000_000, abs=50_000)
    assert (row.codec, row.width, row.height, row.frames) == ("h264", 160, 96, 75)
    assert row.audio == "aac"
    assert "MediaMTX" in row.note
    assert row.blob == f"recordings/gate/2026/11/25/{first_us}.mp4"

    async def stored() -> bytes:
        async with TenantBlobs(settings.blob_url, "acme") as blobs:
            return await blobs.get(row.blob)

    assert asyncio.run(stored()) == good.read_bytes()


def test_impossible_imports_are_rejected(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    result = run(folder)
    assert result.exit_code == 2
    assert "is not a folder" in result.output
    folder.mkdir()
    assert "no MediaMTX recordings" in run(folder).output
    record(folder / "2026-11-25_17-30-00-000000.mp4", 1)
    assert "no camera" in run(folder, "nowhere").output
    masked = run(folder, "yard")
    assert masked.exit_code == 2
    assert "masks" in masked.output
    assert "time zone" in run(folder, "gate", "--timezone", "Mars/Phobos").output
    assert asyncio.run(rows(settings)) == []
