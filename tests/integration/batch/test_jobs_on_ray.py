"""Jobs as processes of a Ray cluster: submitted, reporting, cancelled, killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import psutil
import pytest
import pytest_asyncio

from cluster.core.settings import RaySettings, Settings
from cluster.local import ray_head
from cluster.local.process import SupervisedProcess
from cluster.stores.db import Database, JobRecord, JobState, migrate
from pipelines.clock import SystemClock
from serve.api.ray_ports import RayJobs
from tests.factories import CIPHER
from tests.integration.batch.conftest import DETECTOR_VARIABLES, data_folder, seed
from tests.integration.batch.world import frames_to_analyse, recorded
from tests.ports import free_port

pytestmark = [pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 150


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Path:
    return data_folder(tmp_path_factory.mktemp("jobs"), model_cache)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def head(data_dir: Path) -> AsyncIterator[Settings]:
    """A head as `atalaia up` starts it, with a token; its processes find the settings in its
    environment. This process is connected to it, like a Serve replica."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ATALAIA_DATA_DIR": str(data_dir), **DETECTOR_VARIABLES}.items():
            patch.setenv(name, value)
        settings = Settings(ray=RaySettings(dashboard_port=free_port(), num_cpus=2))
        ray_head.ensure_token()
        ray_head.use_loopback()
        port = free_port()
        process = SupervisedProcess(ray_head.ray_spec(settings, port), clock=SystemClock())
        try:
            await process.start()
            address = f"{ray_head.LOOPBACK}:{port}"
            await asyncio.to_thread(ray_head.connect, address, settings.ray.namespace)
            yield settings
        finally:
            await asyncio.to_thread(ray_head.disconnect)
            await process.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def records(head: Settings) -> AsyncIterator[Database]:
    await migrate(head.database_url)
    async with Database(head.database_url, cipher=CIPHER) as database:
        await seed(database)
        yield database


def command(job: JobRecord, *more: str) -> list[str]:
    argv = [sys.executable, "-m", "pipelines.reprocess", "--tenant", "acme", "--camera", "gate"]
    return [*argv, "--job", str(job.id), "--json", *more]


async def new_job(records: Database) -> JobRecord:
    return await records.jobs("acme").add(
        "reprocess", {"camera": "gate"}, submission="atalaia-{id}"
    )


async def becomes(records: Database, job: UUID, wanted: Callable[[JobRecord], bool]) -> JobRecord:
    async def probe() -> JobRecord | None:
        found = await records.jobs("acme").job(job)
        return found if wanted(found) else None

    return await eventually(probe)


async def eventually(probe: Callable[[], Awaitable[JobRecord | None]]) -> JobRecord:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await probe()
            if found is not None:
                return found
            await asyncio.sleep(0.1)


def process_of(job: JobRecord) -> psutil.Process:
    """The driver. Ray's supervisor runs it in a shell whose command line has the same words."""
    return next(
        process
        for process in psutil.process_iter()
        if str(job.id) in process.cmdline() and "pipelines.reprocess" in process.cmdline()
    )


async def test_a_submitted_job_reports_and_ends(records: Database, video: Path) -> None:
    """It needs only its command, because the cluster's processes find the settings. Ray shows no
    secret of it."""
    job = await new_job(records)
    port = RayJobs()
    await port.submit(str(job.submission), command(job, "--start", "2026-01-01", str(video)))
    ended = await becomes(records, job.id, lambda found: found.state.ended)
    assert (ended.state, ended.error, ended.progress) == (JobState.SUCCEEDED, None, 1.0)
    assert ended.summary is not None
    assert ended.summary["looked"] == frames_to_analyse()
    assert len(await recorded(records)) == 6

    async def over() -> JobRecord | None:
        return job if await port.ending(str(job.submission)) else None

    await eventually(over)


async def test_a_cancelled_job_is_stopped(records: Database, video: Path) -> None:
    job = await new_job(records)
    port = RayJobs()
    await port.submit(str(job.submission), command(job, "--start", "2027-01-01", str(video)))
    await becomes(records, job.id, lambda found: found.state is JobState.RUNNING)
    driver = process_of(job)
    await records.jobs("acme").finish(job.id, JobState.CANCELLED)
    await port.stop(str(job.submission))
    await asyncio.to_thread(driver.wait, 30)
    assert (await records.jobs("acme").job(job.id)).state is JobState.CANCELLED


async def test_a_killed_job_counts_as_ended(records: Database, video: Path) -> None:
    job = await new_job(records)
    port = RayJobs()
    await port.submit(str(job.submission), command(job, "--start", "2028-01-01", str(video)))
    await becomes(records, job.id, lambda found: found.state is JobState.RUNNING)
    assert await port.ending(str(job.submission)) is None
    process_of(job).kill()

    async def over() -> JobRecord | None:
        return job if await port.ending(str(job.submission)) else None

    await eventually(over)
    assert await port.ending(str(job.submission)) == "its process ended: failed"
    assert await port.ending("atalaia-nobody") == "Ray does not know it any more"
