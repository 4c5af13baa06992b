"""What a job's record says of its failure: short, and without credentials."""

from __future__ import annotations

import pytest

from cluster.batch.report import MAX_ERROR, OnProgress, run_reported
from cluster.batch.request import Summary
from cluster.stores.db import Database
from pipelines.errors import UnavailableError

SECRET = "S3cr3tPassw0rd"
URL = f"rtsp://admin:{SECRET}@192.0.2.10/stream"


@pytest.mark.parametrize("kind", [ValueError, UnavailableError])
@pytest.mark.parametrize("before", [0, MAX_ERROR - 30, MAX_ERROR + 10])
async def test_a_credential_in_an_error_is_not_recorded(
    database: Database, kind: type[Exception], before: int
) -> None:
    """Wherever the record's limit cuts it."""
    jobs = database.jobs("acme")
    job = await jobs.add("reprocess", {"camera": "gate"})

    async def work(on_progress: OnProgress) -> Summary:
        raise kind(f"cannot read {'x' * before} {URL}")

    with pytest.raises(kind):
        await run_reported(jobs, job.id, work)
    error = (await jobs.job(job.id)).error
    assert error is not None
    assert "cannot read" in error
    assert SECRET[:3] not in error
    assert len(error) < MAX_ERROR + 50
