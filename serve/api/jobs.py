"""`/v1/jobs`: recordings looked at again, in the background."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, Field, JsonValue, model_validator

from cluster.core.settings import Settings
from cluster.stores.db import JobRecord, JobState, TenantJobs
from pipelines.domain import Slug
from pipelines.errors import AtalaiaError, InputError
from serve.api.auth import DepsDep, TenantDep, TenantScope
from serve.api.fields import RequestBody, ResponseBody
from serve.api.ports import Deps, JobsPort
from serve.api.problems import responses
from serve.api.times import micros, rfc3339

router = APIRouter(tags=["jobs"], responses=responses(401, 403, 422, 429, 503))

# A job's process says every few seconds that it lives. Starting one takes some 10 s on busy cores.
SILENT_US = 30_000_000

JobPath = Annotated[UUID, Path(description="Id of the job.")]
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Address of the job."}
        }
    }
}


class NewJob(RequestBody):
    """What to look at again."""

    kind: Literal["reprocess"]
    camera: Slug
    from_: AwareDatetime | None = Field(None, alias="from", description="First capture time.")
    to: AwareDatetime | None = Field(None, description="First capture time no longer to look at.")
    model: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="Other weights, of those that are allowed; default: the live detector's."
    )

    @model_validator(mode="after")
    def _times_fit(self) -> NewJob:
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise ValueError("`to` must be after `from`")
        return self


class Accepted(ResponseBody):
    id: UUID
    state: JobState


class JobView(ResponseBody):
    id: UUID
    kind: str
    request: dict[str, JsonValue] = Field(description="What was asked for.")
    state: JobState
    progress: float = Field(description="0..1")
    summary: dict[str, JsonValue] | None = Field(description="What it did; null before its end.")
    error: str | None = Field(description="Why it failed.")
    created_at: str
    updated_at: str = Field(description="When it was last heard of.")


class JobList(ResponseBody):
    jobs: list[JobView]


def _view(job: JobRecord) -> JobView:
    return JobView(
        id=job.id,
        kind=job.kind,
        request=job.request,
        state=job.state,
        progress=job.progress,
        summary=job.summary,
        error=job.error,
        created_at=rfc3339(job.created_us),
        updated_at=rfc3339(job.updated_us),
    )


def _jobs(deps: Deps, scope: TenantScope) -> TenantJobs:
    return deps.database.jobs(scope.tenant)


@router.post(
    "/v1/jobs",
    status_code=202,
    summary="Look at recordings again",
    responses=responses(400, 404, 409, 413) | ACCEPTED,
)
async def start_job(body: NewJob, scope: TenantDep, deps: DepsDep, response: Response) -> Accepted:
    """Everything that the camera recorded, or a part of it, with the rules of now. What is found is
    kept as if it had been found live; what was known stays as it is."""
    await scope.records.camera(body.camera)
    _require_allowed(body.model, deps.settings)
    jobs = _jobs(deps, scope)
    for job in await jobs.under_way():
        await _notice_the_dead(jobs, job, deps)
    request = body.model_dump(mode="json", by_alias=True, exclude={"kind"}, exclude_none=True)
    job = await jobs.add(
        body.kind,
        request,
        submission="atalaia-{id}",
        at_most=deps.settings.batch.jobs_per_tenant,
    )
    try:
        await deps.jobs.submit(str(job.submission), _command(scope.tenant, job.id, body))
    except AtalaiaError as error:
        await jobs.finish(job.id, JobState.FAILED, error=error.message)
        raise
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return Accepted(id=job.id, state=job.state)


@router.get("/v1/jobs", summary="List jobs, newest first")
async def list_jobs(
    scope: TenantDep, deps: DepsDep, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> JobList:
    jobs = _jobs(deps, scope)
    return JobList(
        jobs=[_view(await _notice_the_dead(jobs, job, deps)) for job in await jobs.jobs(limit)]
    )


@router.get("/v1/jobs/{job}", summary="One job", responses=responses(404))
async def get_job(job: JobPath, scope: TenantDep, deps: DepsDep) -> JobView:
    jobs = _jobs(deps, scope)
    return _view(await _notice_the_dead(jobs, await jobs.job(job), deps))


@router.delete("/v1/jobs/{job}", summary="Cancel a job", responses=responses(404))
async def cancel_job(job: JobPath, scope: TenantDep, deps: DepsDep) -> JobView:
    """What it found so far stays, and what it looked at need not be looked at again. A job that has
    ended stays as it is."""
    jobs = _jobs(deps, scope)
    found = await jobs.job(job)
    if await jobs.finish(job, JobState.CANCELLED) and found.submission is not None:
        await deps.jobs.stop(found.submission)
    return _view(await jobs.job(job))


def _require_allowed(model: str | None, settings: Settings) -> None:
    allowed = {settings.detector.weights, *settings.batch.models}
    if model is not None and model not in allowed:
        raise InputError(
            f"the model {model!r} cannot be chosen.",
            hint="Leave it out, or ask who runs this Atalaia to add it to batch.models.",
        )


def _command(tenant: str, job: UUID, body: NewJob) -> list[str]:
    argv = [sys.executable, "-m", "pipelines.reprocess", "--tenant", tenant]
    argv += ["--camera", body.camera, "--job", str(job), "--json"]
    for option, at_us in (("--from", micros(body.from_)), ("--to", micros(body.to))):
        if at_us is not None:
            argv += [option, rfc3339(at_us)]
    if body.model is not None:
        argv += ["--model", body.model]
    return argv


async def _notice_the_dead(jobs: TenantJobs, job: JobRecord, deps: Deps) -> JobRecord:
    """The job as it is; one that died without a word is failed from now on."""
    if job.state.ended or deps.clock.now_us() - job.updated_us < SILENT_US:
        return job
    reason = await _why_silent(job, deps.jobs)
    if reason is None:
        return job
    await jobs.finish(job.id, JobState.FAILED, error=reason)
    return await jobs.job(job.id)


async def _why_silent(job: JobRecord, port: JobsPort) -> str | None:
    """None where the job may yet say something: it waits for its turn, or Ray is away."""
    if job.submission is None:
        return "nothing was heard of it any more"
    try:
        return await port.ending(job.submission)
    except AtalaiaError:
        return None
