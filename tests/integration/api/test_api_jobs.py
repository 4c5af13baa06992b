"""`/v1/jobs`: started for the tenant of the key, bounded, and honest about jobs that died."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.core.settings import BatchSettings, Settings
from cluster.stores.db import JobState
from pipelines.clock import ManualClock
from tests.factories import make_camera
from tests.integration.api.world import World, open_world, problem

BODY: dict[str, Any] = {"kind": "reprocess", "camera": "gate"}
LONG_SILENT_S = 60.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(settings: Settings, migrated: Path, clock: ManualClock) -> AsyncIterator[World]:
    settings = settings.model_copy(
        update={"batch": BatchSettings(jobs_per_tenant=2, models=("yolov8s.pt",))}
    )
    async with open_world(settings, migrated, clock) as world:
        for tenant in ("acme", "globex"):
            await world.database.tenant(tenant).add_camera(make_camera(tenant))
        yield world


async def test_a_job_is_started_with_what_was_asked(world: World, acme: httpx.AsyncClient) -> None:
    """The tenant is the key's; times are exact to the microsecond; nothing secret is in the
    command."""
    asked = BODY | {
        "from": "2026-01-31T08:00:00.000001+01:00",
        "to": "2026-01-31T09:00:00Z",
        "model": "yolov8s.pt",
    }
    answer = await acme.post("/v1/jobs", json=asked)
    assert answer.status_code == 202
    job = answer.json()
    assert job["state"] == "queued"
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"

    (argv,) = world.jobs.started.values()
    assert argv[1:] == [
        *("-m", "pipelines.reprocess", "--tenant", "acme", "--camera", "gate"),
        *("--job", job["id"], "--json"),
        *("--from", "2026-01-31T07:00:00.000001Z", "--to", "2026-01-31T09:00:00.000000Z"),
        *("--model", "yolov8s.pt"),
    ]
    shown = (await acme.get(f"/v1/jobs/{job['id']}")).json()
    assert (shown["state"], shown["progress"], shown["summary"]) == ("queued", 0.0, None)
    assert shown["request"]["camera"] == "gate"
    assert (await acme.get("/v1/jobs")).json()["jobs"] == [shown]


async def test_what_the_job_says_is_shown(world: World, acme: httpx.AsyncClient) -> None:
    job = await started(acme)
    records = world.database.jobs("acme")
    (record,) = await records.under_way()
    await records.report(record.id, 0.25)
    assert (await acme.get(job)).json() | {"state": "running", "progress": 0.25} == (
        await acme.get(job)
    ).json()
    await records.finish(record.id, JobState.SUCCEEDED, summary={"looked": 150})
    ended = (await acme.get(job)).json()
    assert (ended["state"], ended["progress"], ended["summary"]) == (
        "succeeded",
        1.0,
        {"looked": 150},
    )


async def test_cancelling_is_for_good(world: World, acme: httpx.AsyncClient) -> None:
    """The process is stopped; what it says afterwards changes nothing, nor does a second time."""
    job = await started(acme)
    assert (await acme.delete(job)).json()["state"] == "cancelled"
    (submission,) = world.jobs.started
    assert world.jobs.stopped == [submission]
    records = world.database.jobs("acme")
    id = (await records.jobs())[0].id
    assert not await records.report(id, 0.5)
    assert not await records.finish(id, JobState.SUCCEEDED)
    assert (await acme.delete(job)).json()["state"] == "cancelled"
    assert world.jobs.stopped == [submission]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"camera": "nobody"}, 404, "not-found"),
        ({"kind": "dance"}, 422, None),
        ({"model": "/etc/passwd"}, 422, None),
        ({"from": "2026-01-31T08:00:00"}, 422, None),
        ({"from": "2026-01-31T08:00:00Z", "to": "2026-01-31T08:00:00Z"}, 422, None),
        ({"tenant": "globex"}, 422, None),
    ],
)
async def test_what_cannot_be_is_refused(
    world: World, acme: httpx.AsyncClient, change: dict[str, Any], status: int, code: str | None
) -> None:
    problem(await acme.post("/v1/jobs", json=BODY | change), status, code)
    assert world.jobs.started == {}
    assert (await acme.get("/v1/jobs")).json() == {"jobs": []}


async def test_a_tenant_has_so_many_and_no_more(
    world: World, acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    first = await started(acme)
    await started(acme)
    problem(await acme.post("/v1/jobs", json=BODY), 409, "quota-exceeded")
    await started(globex)
    await acme.delete(first)
    await started(acme)


async def test_a_job_that_died_without_a_word_is_failed(
    world: World, acme: httpx.AsyncClient, clock: ManualClock
) -> None:
    """And gives its place free. One that is only slow is left alone, also while Ray is away."""
    job = await started(acme)
    await started(acme)
    dead, _ = world.jobs.started
    world.jobs.ended[dead] = "its process ended: failed"
    assert (await acme.get(job)).json()["state"] == "queued"
    clock.advance(LONG_SILENT_S)
    world.jobs.away = True
    assert (await acme.get(job)).json()["state"] == "queued"
    world.jobs.away = False
    await started(acme)
    failed = (await acme.get(job)).json()
    assert (failed["state"], failed["error"]) == ("failed", "its process ended: failed")


async def test_a_job_that_cannot_be_started_says_so(world: World, acme: httpx.AsyncClient) -> None:
    world.jobs.away = True
    problem(await acme.post("/v1/jobs", json=BODY), 503, "unavailable")
    (job,) = (await acme.get("/v1/jobs")).json()["jobs"]
    assert job["state"] == "failed"
    assert "not there" in job["error"]


async def started(client: httpx.AsyncClient) -> str:
    """The address of a new job."""
    answer = await client.post("/v1/jobs", json=BODY)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])
