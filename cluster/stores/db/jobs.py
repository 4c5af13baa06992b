"""The jobs of one tenant: request, progress, outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from cluster.stores.db.convert import job_of
from cluster.stores.db.models import JobRow
from cluster.stores.db.scope import EVERY_CAMERA
from cluster.stores.db.sessions import Sessions
from cluster.stores.db.tenant_row import lock_tenant
from cluster.stores.db.types import JobRecord
from pipelines.clock import Clock
from pipelines.domain import JobState
from pipelines.errors import NotFoundError, QuotaReachedError

MAX_JOBS = 500


class TenantJobs:
    """Made by `Database.jobs`. Every method may raise UnavailableError."""

    def __init__(self, sessions: Sessions, tenant: str, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self.tenant = tenant

    async def add(
        self,
        kind: str,
        request: dict[str, Any],
        *,
        submission: str | None = None,
        at_most: int | None = None,
    ) -> JobRecord:
        """A new job, queued.

        Args:
            kind: of job.
            request: as it was made, as JSON.
            submission: name under which Ray will know it; `{id}` in it is the job's id.
            at_most: how many may be queued or running then.

        Raises:
            QuotaReachedError: there are as many already.
            NotFoundError: there is no such tenant.
        """
        now_us = self._clock.now_us()
        id = uuid4()
        async with self._sessions.write() as session:
            # So that of two requests at once one sees the other's job.
            await lock_tenant(session, self.tenant)
            under_way = await session.scalar(
                select(func.count()).select_from(JobRow).where(JobRow.state.in_(_under_way())),
                # The bound is the tenant's, whoever of it asks.
                execution_options={EVERY_CAMERA: True},
            )
            if at_most is not None and (under_way or 0) >= at_most:
                raise QuotaReachedError(
                    f"{under_way} jobs are queued or running already.",
                    hint="Wait for one of them to end, or cancel it.",
                    quota="jobs",
                )
            row = JobRow(
                tenant=self.tenant,
                id=id,
                kind=kind,
                camera=request.get("camera"),
                request=request,
                state=JobState.QUEUED.value,
                progress=0.0,
                submission=submission.format(id=id) if submission else None,
                created_us=now_us,
                updated_us=now_us,
            )
            session.add(row)
            return job_of(row)

    async def job(self, job: UUID) -> JobRecord:
        """Raises NotFoundError."""
        async with self._sessions.read() as session:
            row = await session.scalar(select(JobRow).where(JobRow.id == job))
            if row is None:
                raise NotFoundError(f"there is no job {job}.")
            return job_of(row)

    async def jobs(self, limit: int = 100) -> list[JobRecord]:
        """The latest, newest first."""
        statement = select(JobRow).order_by(JobRow.created_us.desc(), JobRow.id).limit(limit)
        async with self._sessions.read() as session:
            return [job_of(row) for row in await session.scalars(statement)]

    async def under_way(self) -> list[JobRecord]:
        """Those that are queued or running."""
        statement = select(JobRow).where(JobRow.state.in_(_under_way())).limit(MAX_JOBS)
        async with self._sessions.read() as session:
            return [job_of(row) for row in await session.scalars(statement)]

    async def report(self, job: UUID, progress: float) -> bool:
        """It runs, and is so far (0..1). False where it ended meanwhile, as by a cancellation."""
        return await self._move(job, JobState.RUNNING, progress=progress)

    async def finish(
        self,
        job: UUID,
        state: JobState,
        *,
        summary: dict[str, Any] | None = None,
        error: str | None = None,
    ) -> bool:
        """It ended so. False where it had ended before: how a job ended first is how it ended."""
        values: dict[str, Any] = {"error": error}
        if summary is not None:
            values["summary"] = summary
        if state is JobState.SUCCEEDED:
            values["progress"] = 1.0
        return await self._move(job, state, **values)

    async def _move(self, job: UUID, to: JobState, **values: Any) -> bool:
        before = [state.value for state in JobState if to in state.may_become]
        async with self._sessions.write() as session:
            moved = await session.scalar(
                update(JobRow)
                .where(JobRow.id == job, JobRow.state.in_(before))
                .values(state=to.value, updated_us=self._clock.now_us(), **values)
                .returning(JobRow.id)
            )
        return moved is not None


def _under_way() -> Iterable[str]:
    return [state.value for state in JobState if not state.ended]
