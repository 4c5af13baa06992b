"""A job over files: what it finds is what the scene's script says, and it is written once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.batch.job import Job
from cluster.batch.request import Request, Summary
from cluster.demo.expected import expected_alarms
from cluster.demo.scene import GroundTruth
from cluster.records import AlarmQuery, AlarmRecord, Database
from cluster.settings import Settings
from pipelines.clock import SystemClock
from pipelines.domain import AlarmSource
from tests.integration.batch.conftest import GATE, START_US

pytestmark = pytest.mark.timeout(300)

EARLY_S, LATE_S = 0.4, 0.8
"""A detector sees a figure enter some frames before or after the script says so; the same
tolerance as in the test of the demo's footage."""


async def run(settings: Settings, **asked: Any) -> Summary:
    request = Request(tenant="acme", camera="gate", **asked)
    return await Job(settings, request, SystemClock()).run()


async def recorded(database: Database, tenant: str = "acme") -> list[AlarmRecord]:
    """Oldest first."""
    page = await database.tenant(tenant).alarms(AlarmQuery(limit=500))
    return page.items[::-1]


def assert_as_scripted(alarms: list[AlarmRecord], truth: GroundTruth) -> None:
    expected = sorted((e.rule, e.at_s) for e in expected_alarms(truth, GATE.rules))
    found = sorted((r.alarm.rule, (r.alarm.capture_us - START_US) / 1e6) for r in alarms)
    assert [rule for rule, _ in found] == [rule for rule, _ in expected]
    for (rule, at_s), (_, wanted_s) in zip(found, expected, strict=True):
        assert -EARLY_S <= at_s - wanted_s <= LATE_S, f"{rule} at {at_s}, not {wanted_s}"


@pytest.mark.usefixtures("ray_session")
async def test_a_film_gives_the_alarms_of_its_script(
    settings: Settings, database: Database, films: Path, truth: GroundTruth
) -> None:
    """They carry their source, and the picture of their moment is stored; the other tenant's
    camera of the same name has none of it."""
    summary = await run(settings, files=(str(films),), start_us=START_US)

    alarms = await recorded(database)
    assert_as_scripted(alarms, truth)
    assert {record.alarm.source for record in alarms} == {AlarmSource.BATCH}
    for record in alarms:
        assert record.alarm.snapshot == f"alarms/{record.alarm.id}.jpg"
        picture = settings.data_dir / "data" / "blobs" / "acme" / record.alarm.snapshot
        assert picture.read_bytes().startswith(b"\xff\xd8")
    assert summary.new_alarms == sum(summary.alarms.values()) == len(alarms)
    assert (summary.decoded, summary.looked) == (750, 150)
    assert summary.media_s == 30.0
    assert await recorded(database, "globex") == []


@pytest.mark.usefixtures("database")
def test_the_driver_runs_as_a_program(settings: Settings, films: Path) -> None:
    """Without a cluster it makes one of its own, prints a summary, and writes nothing when told
    to."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.reprocess", "--tenant", "acme", "--camera", "gate"),
            *("--start", "2026-01-01T00:00:00Z", "--dry-run", "--json", str(films / "gate.mp4")),
        ],
        env=os.environ | {"ATALAIA_DATA_DIR": str(settings.data_dir)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = Summary.model_validate_json(done.stdout)
    assert (summary.looked, summary.new_alarms, summary.dry_run) == (150, 0, True)
    assert sum(summary.alarms.values()) == 6
    assert not (settings.data_dir / "data" / "blobs").exists()
