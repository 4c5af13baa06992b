"""Runs a job as a process: connects to Ray, runs the job, reports the result."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from cluster.batch.job import Job
from cluster.batch.report import OnProgress, run_reported
from cluster.batch.request import Request, Summary
from cluster.core.files import read_json
from cluster.core.log import configure_logging
from cluster.core.settings import Settings
from cluster.local import ray_head
from cluster.local.ray_folder import new_folder
from cluster.local.stack import STATE_FILE, running_owner
from cluster.stores.db import Database
from pipelines.clock import SystemClock


async def drive(settings: Settings, request: Request, job: UUID | None = None) -> Summary:
    """Run the job on the cluster in use, or on a Ray of its own if there is none.

    Args:
        job: id of the job's record; None: create one, unless it is a dry run.

    Raises:
        InputError: the request cannot be fulfilled, or names something that does not exist.
        CancelledJobError: the job was cancelled.
        UnavailableError: a service that the job needs is down.
    """
    configure_logging(settings.log)
    # Users want the job's own messages, not Ray Data's.
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    async def work(on_progress: OnProgress = lambda _: None) -> Summary:
        async with _on_ray(settings):
            return await Job(settings, request, SystemClock(), on_progress).run()

    if job is None and request.dry_run:
        return await work()
    async with Database.of(settings) as database:
        jobs = database.jobs(request.tenant)
        if job is None:
            job = (await jobs.add("reprocess", request.as_json())).id
        return await run_reported(jobs, job, work)


@asynccontextmanager
async def _on_ray(settings: Settings) -> AsyncIterator[None]:
    """Connected to the cluster of `ray job submit`, of the settings, or of the local Atalaia."""
    import ray

    address = os.environ.get("RAY_ADDRESS") or settings.ray.address
    if address is None and running_owner(settings) is not None:
        state: dict[str, Any] = read_json(settings.run_dir / STATE_FILE) or {}
        address = state.get("ray_address")
    if address is None:
        async with _own_ray(settings):
            yield
        return
    if address.startswith(ray_head.LOOPBACK):
        ray_head.use_loopback()
    await asyncio.to_thread(ray_head.connect, address, settings.ray.namespace)
    try:
        yield
    finally:
        await asyncio.to_thread(ray.shutdown)


@asynccontextmanager
async def _own_ray(settings: Settings) -> AsyncIterator[None]:
    """Connected to a Ray that ends with the job, and leaves nothing but its logs, in `ray-job`."""
    import ray

    ray_head.ensure_token()
    ray_head.use_loopback()
    folder = await asyncio.to_thread(new_folder)
    try:
        await asyncio.to_thread(_start_own, settings, folder.sessions)
        yield
    finally:
        try:
            await asyncio.to_thread(ray.shutdown)
        finally:
            await asyncio.to_thread(folder.close, settings.log_dir / "ray-job")


def _start_own(settings: Settings, folder: Path) -> None:
    import ray

    ray.init(
        address="local",  # never another user's cluster on this machine
        num_cpus=settings.ray.num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=settings.ray.object_store_mb * 1_000_000,
        _node_ip_address=ray_head.LOOPBACK,
        _temp_dir=str(folder),
    )


def show(summary: Summary, console: Console) -> None:
    """Print the summary for people."""
    table = Table.grid(padding=(0, 2))
    for name, text in _lines(summary):
        table.add_row(name, text)
    console.print(table)


def _lines(s: Summary) -> list[tuple[str, str]]:
    lines = [
        ("camera", f"{s.camera} of {s.tenant}{' (nothing was written)' if s.dry_run else ''}"),
        ("video", f"{s.media_s:.0f} s in {s.sources} sources, {s.decoded} frames"),
        ("analysed", f"{s.looked} frames with {s.model} ({s.detector} detector)"),
        ("rate", f"{s.times_real_time:.1f} x real time, {s.frames_per_s:.1f} frames/s"),
        ("cost", f"{s.core_s:.0f} core-seconds, {s.wall_s:.0f} s"),
        ("chunks", f"{s.chunks}, {s.reused} reused from earlier jobs"),
        ("alarms", ", ".join(f"{rule}: {n}" for rule, n in s.alarms.items()) or "none"),
        ("written", f"{s.new_alarms} new alarms, {s.objects} objects, {s.paths} paths"),
    ]
    for source in s.first_sources:
        lines.append((source.name, f"starts {source.start} ({source.start_from})"))
    for rejected in (*s.rejected, *s.problems):
        lines.append((rejected.name, f"skipped: {rejected.reason}"))
    if s.corrupt or s.late or s.not_remembered:
        lines.append(("lost", f"{s.corrupt} packets, {s.late} frames, {s.not_remembered} objects"))
    return lines
