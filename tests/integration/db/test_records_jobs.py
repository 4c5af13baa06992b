"""Jobs: every move that a state may make, the bound, and two tenants."""

from __future__ import annotations

import asyncio

import pytest

from cluster.batch.report import OnProgress, run_reported
from cluster.batch.request import Summary
from cluster.stores.db import Database, JobRecord, JobState
from pipelines.clock import ManualClock
from pipelines.errors import ConflictError, InputError, NotFoundError

ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


async def add(database: Database, tenant: str = "acme") -> JobRecord:
    return await database.jobs(tenant).add("reprocess", {"camera": "gate"}, submission="x-{id}")


async def test_a_job_from_its_beginning_to_its_end(database: Database, clock: ManualClock) -> None:
    jobs, job = database.jobs("acme"), await add(database)
    assert (job.state, job.progress, job.submission) == (JobState.QUEUED, 0.0, f"x-{job.id}")
    clock.advance(2)
    assert await jobs.report(job.id, 0.0)
    assert await jobs.report(job.id, 0.5)
    running = await jobs.job(job.id)
    assert (running.state, running.progress) == (JobState.RUNNING, 0.5)
    assert running.updated_us - running.created_us == 2_000_000
    assert await jobs.under_way() == [running]
    assert await jobs.finish(job.id, JobState.SUCCEEDED, summary={"alarms": {"a": 1}})
    ended = await jobs.job(job.id)
    assert (ended.state, ended.progress, ended.summary) == (
        JobState.SUCCEEDED,
        1.0,
        {"alarms": {"a": 1}},
    )
    assert await jobs.under_way() == []


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("after", ENDS)
async def test_how_it_ended_first_is_how_it_ended(
    database: Database, end: JobState, after: JobState
) -> None:
    jobs, job = database.jobs("acme"), await add(database)
    assert await jobs.finish(job.id, end, error="first")
    assert not await jobs.finish(job.id, after, error="second")
    assert not await jobs.report(job.id, 0.9)
    found = await jobs.job(job.id)
    assert (found.state, found.error) == (end, "first")


def test_the_moves_are_those() -> None:
    moves = {(a, b) for a in JobState for b in a.may_become}
    began = {JobState.QUEUED, JobState.RUNNING}
    assert moves == {(a, b) for a in began for b in (*ENDS, JobState.RUNNING)}
    assert {state for state in JobState if state.ended} == set(ENDS)


async def test_of_many_at_once_no_more_than_may_are_taken(database: Database) -> None:
    """Another tenant's are not counted, and those that ended are not, either."""
    for _ in range(3):
        await add(database, "globex")
    jobs = database.jobs("acme")

    async def one() -> bool:
        try:
            await jobs.add("reprocess", {}, at_most=2)
        except ConflictError:
            return False
        return True

    assert sorted(await asyncio.gather(*(one() for _ in range(6)))) == [False] * 4 + [True] * 2
    (first, _) = await jobs.under_way()
    await jobs.finish(first.id, JobState.CANCELLED)
    assert [await one(), await one()] == [True, False]


async def test_another_tenants_jobs_are_not_there(database: Database) -> None:
    theirs = await add(database, "globex")
    jobs = database.jobs("acme")
    with pytest.raises(NotFoundError):
        await jobs.job(theirs.id)
    assert await jobs.jobs() == await jobs.under_way() == []
    assert not await jobs.report(theirs.id, 0.5)
    assert not await jobs.finish(theirs.id, JobState.CANCELLED)
    assert await database.jobs("globex").job(theirs.id) == theirs


async def test_the_newest_come_first(database: Database, clock: ManualClock) -> None:
    made = []
    for _ in range(3):
        made.append((await add(database)).id)
        clock.advance(1)
    listed = await database.jobs("acme").jobs(limit=2)
    assert [job.id for job in listed] == made[:0:-1]


async def test_there_must_be_such_a_tenant(database: Database) -> None:
    with pytest.raises(NotFoundError, match="no tenant"):
        await add(database, "nobody")


@pytest.mark.parametrize("kind", [InputError, RuntimeError])
async def test_what_a_job_leaves_of_its_error_holds_no_credential(
    database: Database, kind: type[Exception]
) -> None:
    jobs = database.jobs("acme")
    job = await jobs.add("reprocess", {})

    async def work(_: OnProgress) -> Summary:
        raise kind("there is no video at https://user:hunter2@store.example/gate.mp4")

    with pytest.raises(kind):
        await run_reported(jobs, job.id, work)
    ended = await jobs.job(job.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.endswith("there is no video at https://***@store.example/gate.mp4")
