"""`atalaia camera …`: manages a tenant's cameras through the API."""

from __future__ import annotations

import asyncio
import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.cli.api import find_client
from cluster.cli.common import Commands, out, settings
from cluster.core.settings import KEY_VARIABLE
from pipelines.errors import InputError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Add, list and remove cameras of a running Atalaia.",
    epilog="Example: atalaia camera list --tenant acme",
)


class Mode(StrEnum):
    """Recording modes of the command line; a schedule needs weekly windows, and thus the API."""

    OFF = "off"
    ALARM = "alarm"
    CONTINUOUS = "continuous"


KeyOption = Annotated[
    str | None,
    typer.Option("--key", envvar=KEY_VARIABLE, help="Key of the tenant. Default: the demo's."),
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Tenant of the demo, if no key is given.")
]

_COLORS = {"live": "green", "connecting": "yellow", "degraded": "yellow", "offline": "red"}


@app.command(epilog="Example: atalaia camera add gate 'rtsp://viewer:secret@192.0.2.10/stream1'")
def add(
    camera: Annotated[str, typer.Argument(help="Its id: a-z, 0-9 and -, at most 40 characters.")],
    url: Annotated[
        str,
        typer.Argument(
            help="rtsp://, rtsps://, rtmp:// or http(s):// address; - reads it from stdin."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Display name. Default: the id.")] = None,
    substream: Annotated[
        str | None, typer.Option(help="URL of a smaller stream of the same view, for detection.")
    ] = None,
    fps: Annotated[float, typer.Option(help="Frames per second that are analysed.")] = 5.0,
    attention: Annotated[
        bool,
        typer.Option(
            help="Analyse by what moves: fewer frames while nothing does, more when something new "
            "begins to."
        ),
    ] = False,
    fps_min: Annotated[
        float, typer.Option(help="With --attention: frames per second while nothing moves.")
    ] = 0.5,
    fps_max: Annotated[
        float, typer.Option(help="With --attention: at most, when something new moves.")
    ] = 12.0,
    record: Annotated[
        Mode, typer.Option(help="What to record: around alarms, everything, or nothing.")
    ] = Mode.ALARM,
    pre_roll: Annotated[float, typer.Option(help="Seconds kept before an alarm.")] = 5.0,
    post_roll: Annotated[float, typer.Option(help="Seconds kept after an alarm.")] = 10.0,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Add a camera. It is connected and analysed within two seconds.

    Every user of this machine can read a password in an argument while the command runs; with - as
    the URL it is read from stdin instead.
    """
    if url == "-":
        url = sys.stdin.readline().strip()
        if not url:
            raise InputError("there is no URL on stdin.", hint="Write it on one line.")
    body: dict[str, Any] = {"id": camera, "url": url, "detect_fps": fps}
    if attention:
        body |= {"attention": True, "detect_fps_min": fps_min, "detect_fps_max": fps_max}
    body["recording"] = {"mode": record.value, "pre_roll_s": pre_roll, "post_roll_s": post_roll}
    if name is not None:
        body["name"] = name
    if substream is not None:
        body["substream_url"] = substream
    client = find_client(settings(), key, tenant)
    added = asyncio.run(client.request("POST", "/v1/cameras", body))
    out().print(f"added {added['id']}: {added['url']} is {added['state']}", markup=False)


@app.command("list", epilog="Example: atalaia camera list --json")
def list_cameras(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """List the tenant's cameras and their states."""
    cameras = asyncio.run(find_client(settings(), key, tenant).cameras())
    if as_json:
        out().print(json.dumps(cameras, indent=2), markup=False)
        return
    if not cameras:
        out().print("no cameras yet; add one with `atalaia camera add ID URL`")
        return
    table = Table(box=None, header_style="dim")
    for title in ("camera", "name", "state", "reason", "url"):
        table.add_column(title)
    for camera in cameras:
        color = _COLORS.get(camera["state"], "white")
        state = f"[{color}]{camera['state']}[/]"
        cells = [camera["id"], camera["name"], state, camera["reason"], camera["url"]]
        table.add_row(*cells)
    out().print(table)


@app.command(epilog="Example: atalaia camera remove gate")
def remove(
    camera: Annotated[str, typer.Argument(help="Its id.")],
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Remove a camera and its rules. Its alarms are kept."""
    client = find_client(settings(), key, tenant)
    asyncio.run(client.request("DELETE", f"/v1/cameras/{camera}"))
    out().print(f"removed {camera}", markup=False)
