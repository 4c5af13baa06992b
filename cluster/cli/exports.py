"""`atalaia recordings list`, `export` and `verify`: lists, exports and verifies recordings."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx
import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cluster.cli.api import ApiClient, find_client
from cluster.cli.cameras import KeyOption, TenantOption
from cluster.cli.common import Commands, err, out, settings
from cluster.clips.coverage import GAP_US
from cluster.clips.manifest import Manifest, read_manifest, verify
from pipelines.errors import InputError, UnavailableError

# The API responds once the file is assembled: an hour at 4 Mbit/s means copying 1.8 GB.
EXPORT_TIMEOUT_S = 600.0
PAGE = 1_000
"""Segments per request."""
GAP_S = GAP_US / 1_000_000

app = typer.Typer(cls=Commands)
"""Has no name of its own: its commands are merged into those of `cluster.cli.recordings`."""

_TIME = "A time like 2026-01-31T08:15:00Z; local time if it has no offset."
FromOption = Annotated[str, typer.Option("--from", help=f"Start. {_TIME}")]
ToOption = Annotated[str, typer.Option("--to", help="End, exclusive. As --from.")]


@app.command(
    "list",
    epilog="Example: atalaia recordings list --from 2026-01-31T08:00Z --to 2026-01-31T09:00Z",
)
def list_recordings(
    since: FromOption,
    until: ToOption,
    camera: Annotated[str | None, typer.Option(help="Only this camera.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every file with its hash, for programs.")
    ] = False,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """List recordings: contiguous time ranges per camera."""
    query = {"from": _moment(since), "to": _moment(until)}
    if camera is not None:
        query["camera"] = camera
    segments = asyncio.run(_segments(find_client(settings(), key, tenant), query))
    if as_json:
        out().print(json.dumps(segments, indent=2), markup=False)
        return
    if not segments:
        out().print("there are no recordings in this time range")
        return
    table = Table("camera", "from", "to", "files", "size", box=None, header_style="dim")
    for row in _stretches(segments):
        table.add_row(*row)
    out().print(table)


@app.command(
    epilog="Example: atalaia recordings export gate --from 2026-01-31T08:00Z "
    "--to 2026-01-31T08:10Z --output gate.mp4"
)
def export(
    camera: Annotated[str, typer.Argument(help="Its id.")],
    since: FromOption,
    until: ToOption,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File. Default: named by camera and time.")
    ] = None,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Export a time range as one MP4, without re-encoding, and its manifest next to it."""
    start, end = _moment(since), _moment(until)
    target = output or Path(f"{camera}-{datetime.fromisoformat(start):%Y%m%dT%H%M%S}.mp4")
    beside = target.with_name(f"{target.stem}.manifest.json")
    client = find_client(settings(), key, tenant)
    query = urlencode({"camera": camera, "from": start, "to": end})
    manifest = asyncio.run(_export(client, query, target, beside))
    verify(target, manifest)
    covered = manifest.covered
    out().print(f"{target}: {covered.since:%F %T} to {covered.until:%F %T} UTC", markup=False)
    out().print(f"{beside}: sha256 {manifest.file.sha256}", markup=False)
    if manifest.gaps:
        err().print(f"{len(manifest.gaps)} gap(s) in it, listed in the manifest", style="yellow")


@app.command("verify", epilog="Example: atalaia recordings verify gate.mp4 gate.manifest.json")
def verify_export(
    file: Annotated[Path, typer.Argument(help="The export.")],
    manifest: Annotated[Path, typer.Argument(help="Its manifest.")],
    key: KeyOption = None,
    tenant: TenantOption = None,
    online: Annotated[
        bool,
        typer.Option(
            "--online", help="Also compare the manifest with the copy that the API stored."
        ),
    ] = False,
) -> None:
    """Verify that an export matches its manifest byte for byte. Exit code 2 if it does not.

    A manifest can be forged together with its file; --online compares it with the API's copy.
    """
    described = read_manifest(manifest)
    verify(file, described)
    if online:
        client = find_client(settings(), key, tenant)
        kept = asyncio.run(client.request("GET", f"/v1/recordings/exports/{described.id}"))
        if Manifest.model_validate(kept) != described:
            raise InputError(
                f"{manifest} differs from the manifest that the API stored with the export.",
                hint="It was changed afterwards.",
            )
    out().print(
        f"verified: {described.camera} of {described.tenant}, "
        f"{described.covered.since:%F %T} to {described.covered.until:%F %T} UTC, "
        f"{described.file.frames} frames of {len(described.sources)} files",
        markup=False,
    )


def _moment(text: str) -> str:
    """The time in RFC 3339 with an offset. Raises InputError if it is not a time."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError:
        raise InputError(
            f"{text} is not a time.", hint="Write it like 2026-01-31T08:15:00Z."
        ) from None


async def _segments(client: ApiClient, query: dict[str, str]) -> list[dict[str, Any]]:
    """Every segment of the range, fetched page by page, without its short-lived link."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await client.request(
            "GET", f"/v1/recordings?{urlencode(query | cursor | {'limit': str(PAGE)})}"
        )
        found += [{k: v for k, v in row.items() if k != "url"} for row in page["segments"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def _stretches(segments: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the table: camera, from, to, files, size."""
    rows: list[tuple[str, ...]] = []
    for camera in sorted({segment["camera"] for segment in segments}):
        its = [segment for segment in segments if segment["camera"] == camera]
        for run in _runs(its):
            size = sum(segment["size"] for segment in run)
            rows.append(
                (camera, run[0]["from"], run[-1]["to"], str(len(run)), f"{size / 1e6:,.1f} MB")
            )
    return rows


def _runs(segments: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Contiguous runs of one camera's segments, which come oldest first."""
    runs: list[list[dict[str, Any]]] = []
    for segment in segments:
        start = datetime.fromisoformat(segment["from"])
        if runs and (start - datetime.fromisoformat(runs[-1][-1]["to"])).total_seconds() <= GAP_S:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return runs


async def _export(client: ApiClient, query: str, target: Path, beside: Path) -> Manifest:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=err(),
        transient=True,
    ) as progress:
        task = progress.add_task("Assembling …", total=None)
        headers = await client.download(
            f"/v1/recordings/export?{query}",
            target,
            lambda done, total: _show(progress, task, done, total),
            timeout_s=EXPORT_TIMEOUT_S,
        )
    body = await client.request("GET", _manifest_path(headers))
    manifest = Manifest.model_validate(body)
    try:
        await asyncio.to_thread(beside.write_text, manifest.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {beside}: {error.strerror}.") from None
    return manifest


def _show(progress: Progress, task: TaskID, done: int, total: int | None) -> None:
    progress.update(task, description="Downloading", completed=done, total=total)


def _manifest_path(headers: httpx.Headers) -> str:
    """From `Link: </v1/…>; rel="describedby"`. Raises UnavailableError."""
    for link in httpx.Response(200, headers={"Link": headers.get("link", "")}).links.values():
        if link.get("rel") == "describedby" and link["url"].startswith("/v1/"):
            return str(link["url"])
    raise UnavailableError(
        "the API sent no manifest with the export.", hint="Does it run another version?"
    )
