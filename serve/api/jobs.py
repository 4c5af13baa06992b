"""`/v1/jobs`: recordings analysed again, in the background."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, Field, JsonValue, model_validator

from cluster.core.roles import Permission
from cluster.core.settings import Settings
from cluster.stores.db import JobRecord, JobState, TenantJobs
from pipelines.clock import Clock
from pipelines.domain import Slug
from pipelines.errors import AtalaiaError, InputError
from serve.api.audit.note import AuditNoteDep
from serve.api.bound import TenantProcesses
from serve.api.fields import RequestBody, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.quotas.limits import Quota
from serve.api.quotas.storage import require_storage
from serve.api.scope import TenantDep
from serve.api.state import DepsDep
from serve.api.times import micros, rfc3339

router = APIRouter(
    tags=["jobs"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.JOB_RUN)],
)

# A job's process reports every few seconds. Starting one takes some 10 s on busy cores.
SILENT_US = 30_000_000

PROGRAM = "pipelines.reprocess"

JobPath = Annotated[UUID, Path(description="Id of the job.")]
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Address of the job."}
        }
    }
}


class NewJob(RequestBody):
    """Which recordings to analyse again."""

    kind: Literal["reprocess"]
    camera: Slug
    from_: AwareDatetime | None = Field(None, alias="from", description="First capture time.")
    to: AwareDatetime | None = Field(None, description="End of the range, exclusive.")
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
    request: dict[str, JsonValue] = Field(description="The request, as it was made.")
    state: JobState
    progress: float = Field(description="0..1")
    summary: dict[str, JsonValue] | None = Field(description="What it did; null before its end.")
    error: str | None = Field(description="Why it failed.")
    created_at: str
    updated_at: str = Field(description="Time of its last report.")


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


@router.post(
    "/v1/jobs",
    status_code=202,
    summary="Analyse recordings again",
    responses=responses(400, 404, 409, 413, 507) | ACCEPTED,
)
async def start_job(
    body: NewJob, scope: TenantDep, deps: DepsDep, response: Response, note: AuditNoteDep
) -> Accepted:
    """Everything that the camera recorded, or a part of it, with the rules of now. What is found is
    kept as if it had been found live; what was known stays as it is."""
    note.details |= {"kind": body.kind, "camera": body.camera}
    await scope.records.camera(body.camera)
    _require_allowed(body.model, deps.settings)
    await require_storage(scope)
    for known in await scope.every_job.under_way():
        await _notice_the_dead(scope.every_job, scope.processes, known, deps.clock)
    request = body.model_dump(mode="json", by_alias=True, exclude={"kind"}, exclude_none=True)
    job = await scope.jobs.add(
        body.kind,
        request,
        submission="atalaia-{id}",
        at_most=await scope.quotas.limit(Quota.JOBS),
    )
    try:
        await scope.processes.start(str(job.submission), PROGRAM, *_options(job.id, body))
    except AtalaiaError as error:
        await scope.jobs.finish(job.id, JobState.FAILED, error=error.message)
        raise
    note.committed = True
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return Accepted(id=job.id, state=job.state)


@router.get("/v1/jobs", summary="List jobs, newest first")
async def list_jobs(
    scope: TenantDep, deps: DepsDep, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> JobList:
    found = await scope.jobs.jobs(limit)
    seen = [await _notice_the_dead(scope.jobs, scope.processes, job, deps.clock) for job in found]
    return JobList(jobs=[_view(job) for job in seen])


@router.get("/v1/jobs/{job}", summary="One job", responses=responses(404))
async def get_job(job: JobPath, scope: TenantDep, deps: DepsDep) -> JobView:
    found = await scope.jobs.job(job)
    return _view(await _notice_the_dead(scope.jobs, scope.processes, found, deps.clock))


@router.delete("/v1/jobs/{job}", summary="Cancel a job", responses=responses(404))
async def cancel_job(job: JobPath, scope: TenantDep, note: AuditNoteDep) -> JobView:
    """What it found so far stays, and what it analysed need not be analysed again. A job that has
    ended stays as it is."""
    found = await scope.jobs.job(job)
    if await scope.jobs.finish(job, JobState.CANCELLED):
        note.committed = True
        if found.submission is not None:
            await scope.processes.stop(found.submission)
    return _view(await scope.jobs.job(job))


def _require_allowed(model: str | None, settings: Settings) -> None:
    allowed = {settings.detector.weights, *settings.batch.models}
    if model is not None and model not in allowed:
        raise InputError(
            f"the model {model!r} cannot be chosen.",
            hint="Leave it out, or ask who runs this Atalaia to add it to batch.models.",
        )


def _options(job: UUID, body: NewJob) -> list[str]:
    argv = ["--camera", body.camera, "--job", str(job), "--json"]
    for option, at_us in (("--from", micros(body.from_)), ("--to", micros(body.to))):
        if at_us is not None:
            argv += [option, rfc3339(at_us)]
    if body.model is not None:
        argv += ["--model", body.model]
    return argv


async def _notice_the_dead(
    jobs: TenantJobs, processes: TenantProcesses, job: JobRecord, clock: Clock
) -> JobRecord:
    """The job as it is; one that died without reporting it is failed from now on."""
    if job.state.ended or clock.now_us() - job.updated_us < SILENT_US:
        return job
    reason = await _why_silent(job, processes)
    if reason is None:
        return job
    await jobs.finish(job.id, JobState.FAILED, error=reason)
    return await jobs.job(job.id)


async def _why_silent(job: JobRecord, processes: TenantProcesses) -> str | None:
    """None where the job may yet report: it waits for its turn, or Ray is away."""
    if job.submission is None:
        return "its reports stopped"
    try:
        return await processes.ending(job.submission)
    except AtalaiaError:
        return None
