"""Keeps a job's record up to date: heartbeat, progress, outcome."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from uuid import UUID

from cluster.batch.request import Summary
from cluster.core.log import get_logger, redact
from cluster.stores.db import JobState, TenantJobs
from pipelines.errors import AtalaiaError, UnavailableError

log = get_logger("batch.report")

# Frequent enough for a progress bar and to notice a cancellation. Each report updates a small row.
REPORT_INTERVAL_S = 1.0
# Characters of the error that a job's record keeps. It may quote the address of a file.
MAX_ERROR = 2_000

OnProgress = Callable[[float], None]


class CancelledJobError(AtalaiaError):
    """Somebody cancelled the job through its record."""

    code = "cancelled"


async def run_reported(
    jobs: TenantJobs, job: UUID, work: Callable[[OnProgress], Awaitable[Summary]]
) -> Summary:
    """Run `work` and keep the record of `job` up to date.

    Raises:
        CancelledJobError: the job was cancelled through its record.
        Exception: whatever `work` raises; the record then holds it.
    """
    reporter = _Reporter(jobs, job)
    working = asyncio.ensure_future(work(reporter.on_progress))
    reporting = asyncio.create_task(reporter.run(working), name="report")
    try:
        summary = await working
    except asyncio.CancelledError:
        if not reporter.cancelled:
            await jobs.finish(job, JobState.CANCELLED)
            raise
        raise CancelledJobError("the job was cancelled.") from None
    except AtalaiaError as error:
        await jobs.finish(job, JobState.FAILED, error=redact(str(error), MAX_ERROR))
        raise
    # Top of the process: the record must say that the job failed, and why.
    except Exception as error:
        await jobs.finish(
            job, JobState.FAILED, error=redact(f"{type(error).__name__}: {error}", MAX_ERROR)
        )
        raise
    finally:
        reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporting
    await jobs.finish(job, JobState.SUCCEEDED, summary=summary.model_dump(mode="json"))
    return summary


class _Reporter:
    """Reports progress every `REPORT_INTERVAL_S`.

    Attributes:
        cancelled: whether the record says that the job has ended.
    """

    def __init__(self, jobs: TenantJobs, job: UUID) -> None:
        self._jobs = jobs
        self._job = job
        self._progress = 0.0
        self.cancelled = False

    def on_progress(self, progress: float) -> None:
        self._progress = progress

    async def run(self, working: asyncio.Future[Summary]) -> None:
        """Report until cancelled. Cancels `working` when the record says that the job has ended."""
        while True:
            try:
                if not await self._jobs.report(self._job, self._progress):
                    self.cancelled = True
                    working.cancel()
                    return
            except UnavailableError as error:
                # The next report will do. If the database stays down, writing results fails too.
                log.warning("progress not reported", reason=error.message)
            await asyncio.sleep(REPORT_INTERVAL_S)
