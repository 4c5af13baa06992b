"""`ray job submit` against the running demo, from a shell that knows nothing but `atalaia env`."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import REPOSITORY, Demo

SUBMIT_TIMEOUT_S = 240
"""Ray unpacks the folder, a driver and a worker start: some 40 s on two cores."""
RECORDED_TIMEOUT_S = 60
WARM_UP_S = 3
"""Less than by the rules: what is found is not the subject, only by whom."""


def last_file(client: httpx.Client) -> dict[str, Any]:
    """The newest segment of acme's gate."""
    deadline = time.monotonic() + RECORDED_TIMEOUT_S
    asked: dict[str, str | int] = {"camera": "gate", "limit": 1_000}
    while not (seen := client.get("/v1/recordings", params=asked).json()["segments"]):
        assert time.monotonic() < deadline, "nothing of the gate was recorded"
        time.sleep(1)
    newest: dict[str, Any] = seen[-1]
    return newest


@pytest.mark.timeout(300)
def test_a_file_is_looked_at_again_by_the_detector_of_the_live_cameras(demo: Demo) -> None:
    asked = "python -m pipelines.reprocess --tenant acme --camera gate --detector shared"
    with demo.client("acme") as client:
        file = last_file(client)
        span = f"--from {file['from']} --to {file['to']} --warm-up {WARM_UP_S}"
        before = {job["id"] for job in client.get("/v1/jobs").raise_for_status().json()["jobs"]}
        shell = subprocess.run(
            [
                *("/bin/sh", "-ec"),
                f'eval "$({sys.executable} -m cluster.cli -c configs/demo.yaml env)"\n'
                f"ray job submit --working-dir . -- {asked} {span}",
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
