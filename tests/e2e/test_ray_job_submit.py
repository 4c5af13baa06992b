"""`ray job submit` against the running demo, from a shell that knows nothing but `atalaia env`."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.conftest import REPOSITORY, Demo

SUBMIT_TIMEOUT_S = 240
"""Ray unpacks the folder, a driver and a worker start: some 40 s on two cores."""


@pytest.mark.timeout(300)
def test_a_minute_is_looked_at_again_by_the_detector_of_the_live_cameras(demo: Demo) -> None:
    since = (datetime.now(UTC) - timedelta(seconds=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = "python -m pipelines.reprocess --tenant acme --camera gate --detector shared"
    with demo.client("acme") as client:
        before = {job["id"] for job in client.get("/v1/jobs").raise_for_status().json()["jobs"]}
        shell = subprocess.run(
            [
                *("/bin/sh", "-ec"),
                f'eval "$({sys.executable} -m cluster.cli -c configs/demo.yaml env)"\n'
                f"ray job submit --working-dir . -- {asked} --from {since}",
            ],
            cwd=REPOSITORY,
            env=demo.shell,
            capture_output=True,
            text=True,
            timeout=SUBMIT_TIMEOUT_S,
        )
        jobs = client.get("/v1/jobs").raise_for_status().json()["jobs"]
    assert shell.returncode == 0, shell.stdout[-4000:] + shell.stderr[-2000:]
    [job] = [job for job in jobs if job["id"] not in before]
    assert (job["state"], job["progress"]) == ("succeeded", 1.0)
    assert job["request"]["camera"] == "gate"
    assert job["summary"]["looked"] > 0
    with demo.client("globex") as client:
        assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
