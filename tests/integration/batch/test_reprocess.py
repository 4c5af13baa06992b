"""A job over videos and recordings finds what the scene's script says, and writes it once."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.batch.request import Summary
from cluster.core.settings import BatchSettings, Settings
from cluster.demo.scene import GroundTruth
from cluster.stores.db import Database, migrate
from pipelines.domain import AlarmSource, ZoneEntryRule
from pipelines.errors import InputError, NotFoundError
from tests.factories import CIPHER, make_rule
from tests.integration.batch.conftest import (
    DETECTOR_VARIABLES,
    data_folder,
    seed,
)
from tests.integration.batch.world import (
    START_US,
    assert_as_scripted,
    frames_to_analyse,
    record,
    recorded,
    rows,
    run,
)

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("ray_session")]

DRIVER = (sys.executable, "-m", "pipelines.reprocess", "--tenant", "acme", "--camera", "gate")


def chunked(settings: Settings, seconds: float) -> Settings:
    return settings.model_copy(update={"batch": BatchSettings(chunk_s=seconds)})


def killed_after(steps: int, command: list[str], environment: dict[str, str], tables: Path) -> int:
    """Kill the command once it has stored so many tables; returns the number stored."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as driver:
        until = time.monotonic() + 240
        while len(list(tables.glob("*.parquet"))) < steps and time.monotonic() < until:
            assert driver.poll() is None
            time.sleep(0.01)
        driver.kill()
    return len(list(tables.glob("*.parquet")))


@dataclass(frozen=True)
class Finished:
    """What a job left, by the detector as it is by default, and what it said at its end.

    Attributes:
        videos: the folder that it was given; one file of three is a video.
    """

    settings: Settings
    videos: Path
    summary: Summary


@pytest.fixture(scope="module")
def finished(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory, model_cache: Path, video: Path
) -> Finished:
    videos = tmp_path_factory.mktemp("videos")
    shutil.copy(video, videos / "gate.mp4")
    (videos / "a-broken.mp4").write_bytes(video.read_bytes()[1000:5000])
    (videos / "b-empty.mkv").write_bytes(b"")
    (videos / "notes.txt").write_text("not a video")
    settings = chunked(
        Settings(data_dir=data_folder(tmp_path_factory.mktemp("job"), model_cache)), 1000
    )

    async def first() -> Summary:
        await migrate(settings.database_url)
        async with Database(settings.database_url, cipher=CIPHER) as database:
            await seed(database)
        return await run(settings, files=(str(videos),), start_us=START_US)

    return Finished(settings, videos, asyncio.run(first()))


@pytest.fixture
def after(finished: Finished, tmp_path: Path) -> Finished:
    """A copy, for a test to go on with."""
    data_dir = tmp_path / "after"
    shutil.copytree(finished.settings.data_dir, data_dir, symlinks=True)
    settings = finished.settings.model_copy(update={"data_dir": data_dir})
    return Finished(settings, finished.videos, finished.summary)


@pytest.fixture
async def written_records(after: Finished) -> AsyncIterator[Database]:
    async with Database(after.settings.database_url, cipher=CIPHER) as database:
        yield database


async def test_a_video_gives_the_alarms_of_its_script(
    after: Finished, written_records: Database, truth: GroundTruth
) -> None:
    """They have their source and a stored snapshot. Objects and paths are stored too. The other
    tenant's camera of the same name gets none of it."""
    settings, summary = after.settings, after.summary
    alarms = await recorded(written_records)
    assert_as_scripted(alarms, truth)
    assert {found.alarm.source for found in alarms} == {AlarmSource.BATCH}
    blobs = settings.data_dir / "data" / "blobs" / "acme"
    for found in alarms:
        assert found.alarm.snapshot == f"alarms/{found.alarm.id}.jpg"
        assert (blobs / found.alarm.snapshot).read_bytes().startswith(b"\xff\xd8")
    assert summary.new_alarms == sum(summary.alarms.values()) == len(alarms)
    assert (summary.decoded, summary.looked, summary.media_s) == (
        750,
        frames_to_analyse(),
        30.0,
    )
    written = await rows(written_records)
    # Each figure of the script appears once.
    assert len(written["objects"]) == len(truth.actors()) == summary.objects
    for seen in written["objects"]:
        assert (blobs / seen["sighting"]["snapshot"]).read_bytes().startswith(b"\xff\xd8")
    assert {path.track for path in written["paths"]} >= {a.alarm.track for a in alarms}
    assert summary.not_remembered == 0
    assert await recorded(written_records, "globex") == []


async def test_a_repeated_job_changes_nothing(after: Finished, written_records: Database) -> None:
    """The second run analyses no frame again, writes nothing new, and changes nothing."""
    settings, first = after.settings, after.summary
    fields = {"files": (str(after.videos),), "start_us": START_US}
    before = await rows(written_records)
    assert before["alarms"]
    second = await run(settings, **fields)
    assert await rows(written_records) == before
    assert (second.new_alarms, second.reused, second.core_s) == (0, second.chunks, 0.0)
    assert second.alarms == first.alarms
    other_rules = (ZoneEntryRule(id="all", polygon=((0, 0), (1, 0), (1, 1), (0, 1))),)
    third = await run(settings, **fields, rules=other_rules)
    assert (third.reused, set(third.alarms)) == (third.chunks, {"all"})


async def test_a_killed_and_resumed_job_writes_the_same_rows(
    tmp_path: Path, model_cache: Path, finished: Finished
) -> None:
    """SIGKILL while some steps are done and others are not; then again. Compared with a run of
    another configuration that nobody disturbed, in one step instead of fifteen: so seams show, if
    there are any."""
    import ray

    settings = Settings(data_dir=data_folder(tmp_path / "disturbed", model_cache))
    await migrate(settings.database_url)
    video = str(finished.videos / "gate.mp4")
    command = [*DRIVER, "--start", "2026-01-01T00:00:00Z", "--json", video]
    environment = os.environ | {
        "ATALAIA_DATA_DIR": str(settings.data_dir),
        "ATALAIA_BATCH__CHUNK_S": "2",
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
    }
    async with Database(settings.database_url, cipher=CIPHER) as database:
        await seed(database)
        tables = settings.data_dir / "data" / "blobs" / "acme" / "detections" / "gate"
        kept = await asyncio.to_thread(killed_after, 3, command, environment, tables)
        assert 3 <= kept < 15

        resumed = await asyncio.to_thread(
            lambda: subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=400, check=False
            )
        )
        assert resumed.returncode == 0, resumed.stderr
        summary = Summary.model_validate_json(resumed.stdout)
        assert (summary.chunks, summary.looked) == (15, frames_to_analyse())
        assert 3 <= summary.reused < 15

        whole = finished.summary
        assert (whole.chunks, whole.looked) == (1, frames_to_analyse())
        async with Database(finished.settings.database_url, cipher=CIPHER) as other:
            assert await rows(database) == await rows(other)


async def test_broken_files_are_reported_and_skipped(
    after: Finished, written_records: Database, truth: GroundTruth
) -> None:
    summary = after.summary
    assert [rejected.name for rejected in summary.rejected] == ["a-broken.mp4", "b-empty.mkv"]
    assert summary.sources == 1
    assert_as_scripted(await recorded(written_records), truth)


async def test_recordings_are_reprocessed_by_time_range(
    settings: Settings, database: Database, video: Path, truth: GroundTruth, tmp_path: Path
) -> None:
    """Seven seconds per file. A time range gives what the whole gave in that range, because earlier
    frames are analysed as well."""
    segments = await record(video, settings, database, tmp_path, 7.0)
    assert len(segments) == 5
    part_us = (START_US + 20_000_000, START_US + 30_000_000)
    part = await run(settings, from_us=part_us[0], to_us=part_us[1])
    in_part = await recorded(database)
    assert part.new_alarms == len(in_part)

    whole = await run(settings)
    alarms = await recorded(database)
    assert_as_scripted(alarms, truth)
    assert whole.looked == frames_to_analyse(*(segment.start_us for segment in segments))
    wanted = [a.alarm.id for a in alarms if part_us[0] <= a.alarm.capture_us < part_us[1]]
    assert [a.alarm.id for a in in_part] == wanted
    assert 0 < len(wanted) < len(alarms)


async def test_impossible_requests_are_rejected(
    settings: Settings, database: Database, videos: Path
) -> None:
    with pytest.raises(InputError, match="no recordings"):
        await run(settings)
    with pytest.raises(InputError, match="there is no video"):
        await run(settings, files=(str(videos / "nothing*.mp4"),))
    with pytest.raises(InputError, match="missing"):
        await run(settings, files=(str(videos),), model="/missing.pt")
    with pytest.raises(InputError, match="no running detector has the model"):
        await run(settings, files=(str(videos),), detector="shared")
    await database.tenant("acme").add_rule("gate", make_rule("odd", classes=("bicicle",)))
    with pytest.raises(InputError, match="rule 'odd' names 'bicicle'"):
        await run(settings, files=(str(videos),), model=settings.detector.weights)
    await database.tenant("acme").remove_camera("gate")
    with pytest.raises(NotFoundError, match="camera gate"):
        await run(settings, files=(str(videos),))


def driven(settings: Settings, video: Path, rules: Path) -> subprocess.CompletedProcess[str]:
    """A dry run without a cluster, which leaves nothing in the machine's temporary folder."""
    with tempfile.TemporaryDirectory(prefix="job-") as temp:
        environment = {"ATALAIA_DATA_DIR": str(settings.data_dir), "TMPDIR": temp}
        environment |= DETECTOR_VARIABLES
        start = ("--start", "2026-01-01T00:00:00Z")
        done = subprocess.run(
            [*DRIVER, *start, "--dry-run", "--json", "--rules", str(rules), str(video)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert list(Path(temp).glob("atalaia-ray-*")) == []
    assert (settings.log_dir / "ray-job" / "raylet.out").is_file(), "for whoever asks why"
    return done


def rules_file(path: Path, *classes: str) -> Path:
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    rules = [
        {"id": f"of-{n}", "kind": "zone_entry", "polygon": square, "classes": [name]}
        for n, name in enumerate(classes)
    ]
    path.write_text(json.dumps(rules))
    return path


@pytest.mark.usefixtures("database")
def test_the_driver_runs_as_a_program(settings: Settings, videos: Path, tmp_path: Path) -> None:
    """Without a cluster it starts its own and prints a summary. A dry run writes nothing."""
    rules = rules_file(tmp_path / "rules.json", "person", "People")
    done = driven(settings, videos / "gate.mp4", rules)
    assert done.returncode == 0, done.stderr
    summary = Summary.model_validate_json(done.stdout)
    assert (summary.looked, summary.new_alarms) == (frames_to_analyse(), 0)
    assert summary.alarms["of-0"] == summary.alarms["of-1"] > 0
    assert summary.dry_run
    assert not (settings.data_dir / "data" / "blobs").exists()


@pytest.mark.usefixtures("database")
def test_rules_with_a_class_that_the_model_lacks_are_bad_input(
    settings: Settings, videos: Path, tmp_path: Path
) -> None:
    rules = rules_file(tmp_path / "rules.json", "person", "bicicle")
    done = driven(settings, videos / "gate.mp4", rules)
    assert done.returncode == 2
    assert "rule 'of-1' names 'bicicle' (did you mean bicycle?)" in done.stderr
    assert done.stdout == ""
