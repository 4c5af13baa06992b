"""`atalaia jobs …`: reprocesses recordings through the API."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from cluster.cli.api import ApiClient, find_client
from cluster.cli.cameras import KeyOption, TenantOption
from cluster.cli.common import EXIT_FAILURE, Commands, err, out, settings
from pipelines.domain import JobState
from pipelines.errors import UnavailableError

POLL_S = 1.0
"""Between two requests for a job's progress."""
# Polls that may fail in a row: an API that is replaced is down for some seconds, while the job
# continues.
MAX_MISSES = 30

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Reprocess recordings: start, list, follow and cancel jobs of a running Atalaia.",
    epilog="Example: atalaia jobs submit gate --from 2026-01-31T08:00:00Z --follow",
)

_COLORS = {
    JobState.SUCCEEDED: "green",
    JobState.RUNNING: "cyan",
    JobState.QUEUED: "yellow",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
}
JobArgument = Annotated[str, typer.Argument(help="Id of the job, as `atalaia jobs list` shows it.")]


@app.command(epilog="Example: atalaia jobs submit gate --from 2026-01-31T08:00:00Z --follow")
def submit(
    camera: Annotated[str, typer.Argument(help="Whose recordings.")],
    from_: Annotated[
        str | None, typer.Option("--from", help="First capture time, RFC 3339. Default: all.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="End of the capture times, exclusive.")] = None,
    model: Annotated[str | None, typer.Option(help="Other weights, if allowed.")] = None,
    follow_it: Annotated[bool, typer.Option("--follow", help="Then follow it.")] = False,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Reprocess a camera's recordings with its current rules."""
    options = {"from": from_, "to": to, "model": model}
    body: dict[str, Any] = {"kind": "reprocess", "camera": camera}
    body |= {name: value for name, value in options.items() if value is not None}
    client = find_client(settings(), key, tenant)
    job = asyncio.run(client.request("POST", "/v1/jobs", body))
    out().print(f"{job['id']} is {job['state']}", markup=False)
    if follow_it:
        _end(asyncio.run(_follow(client, job["id"])))


@app.command("list", epilog="Example: atalaia jobs list --json")
def list_jobs(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """List the tenant's jobs, newest first."""
    client = find_client(settings(), key, tenant)
    jobs = asyncio.run(client.request("GET", "/v1/jobs"))["jobs"]
    if as_json:
        out().print(json.dumps(jobs, indent=2), markup=False)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("job", "camera", "state", "done", "started", ""):
        table.add_column(column)
    for job in jobs:
        state = JobState(job["state"])
        table.add_row(
            job["id"],
            str(job["request"].get("camera", "")),
            f"[{_COLORS[state]}]{state}[/]",
            f"{job['progress']:.0%}",
            job["created_at"][:19],
            job["error"] or "",
        )
    out().print(table)


@app.command(epilog="Example: atalaia jobs follow 3f2b8c1e-0d6a-4a57-9d0e-5b1f1f0c9a77")
def follow(job: JobArgument, key: KeyOption = None, tenant: TenantOption = None) -> None:
    """Watch a job until it ends. Exit code 1 if it does not succeed."""
    _end(asyncio.run(_follow(find_client(settings(), key, tenant), job)))


@app.command(epilog="Example: atalaia jobs cancel 3f2b8c1e-0d6a-4a57-9d0e-5b1f1f0c9a77")
def cancel(job: JobArgument, key: KeyOption = None, tenant: TenantOption = None) -> None:
    """Cancel a job. Its results so far are kept."""
    client = find_client(settings(), key, tenant)
    ended = asyncio.run(client.request("DELETE", f"/v1/jobs/{job}"))
    out().print(f"{job} is {ended['state']}", markup=False)


async def _follow(client: ApiClient, job: str) -> dict[str, Any]:
    """Show a progress bar until the job ends; returns the job."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    misses = 0
    with Progress(*columns, console=err()) as progress:
        bar = progress.add_task("job", total=1.0)
        while True:
            try:
                found: dict[str, Any] = await client.request("GET", f"/v1/jobs/{job}")
            except UnavailableError:
                misses += 1
                if misses > MAX_MISSES:
                    raise
            else:
                misses = 0
                progress.update(bar, description=found["state"], completed=found["progress"])
                if JobState(found["state"]).ended:
                    return found
            await asyncio.sleep(POLL_S)


def _end(job: dict[str, Any]) -> None:
    summary = job["summary"] or {}
    for name in ("alarms", "new_alarms", "objects", "looked", "wall_s"):
        if name in summary:
            out().print(f"{name}: {summary[name]}", markup=False)
    if job["error"]:
        err().print(job["error"], markup=False)
    if JobState(job["state"]) is not JobState.SUCCEEDED:
        raise typer.Exit(EXIT_FAILURE)
