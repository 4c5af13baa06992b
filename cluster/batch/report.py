"""A job tells its record that it lives, how far it is, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from uuid import UUID

from cluster.batch.request import Summary
from cluster.core.log import get_logger
from cluster.stores.db import JobState, TenantJobs
from pipelines.errors import AtalaiaError, UnavailableError

log = get_logger("batch.report")

# Often enough for a progress bar, and to notice a cancellation; one small row each time.
EVERY_S = 1.0

OnProgress = Callable[[float], None]


class CancelledJobError(AtalaiaError):
    code = "cancelled"


async def reported(
    jobs: TenantJobs, job: UUID, work: Callable[[OnProgress], Awaitable[Summary]]
) -> Summary:
    """Do `work`, telling the record of `job`.

    Raises:
        CancelledJobError: somebody ended it meanwhile.
        Exception: what `work` raised; the record then says so.
    """
    reporter = _Reporter(jobs, job)
    working = asyncio.ensure_future(work(reporter.on_progress))
    telling = asyncio.create_task(reporter.tell(working), name="report")
    try:
        summary = await working
    except asyncio.CancelledError:
        if not reporter.cancelled:
            await jobs.finish(job, JobState.CANCELLED)
            raise
        raise CancelledJobError("the job was cancelled.") from None
    except AtalaiaError as error:
        await jobs.finish(job, JobState.FAILED, error=str(error))
        raise
    # The top of this process: whoever asks for the job must learn that it failed, and why.
    except Exception as error:
        await jobs.finish(job, JobState.FAILED, error=f"{type(error).__name__}: {error}"[:2000])
        raise
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
    await jobs.finish(job, JobState.SUCCEEDED, summary=summary.model_dump(mode="json"))
    return summary


class _Reporter:
    """Says every second how far the job is.

    Attributes:
        cancelled: whether the record said that the job has ended.
    """

    def __init__(self, jobs: TenantJobs, job: UUID) -> None:
        self._jobs = jobs
        self._job = job
        self._progress = 0.0
        self.cancelled = False

    def on_progress(self, progress: float) -> None:
        self._progress = progress

    async def tell(self, working: asyncio.Future[Summary]) -> None:
        while True:
            try:
                if not await self._jobs.report(self._job, self._progress):
                    self.cancelled = True
                    working.cancel()
                    return
            except UnavailableError as error:
                # The next time will do; what is found cannot be written either, which is noticed.
                log.warning("progress not told", reason=error.message)
            await asyncio.sleep(EVERY_S)
