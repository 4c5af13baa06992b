"""`atalaia camera test URL`: what an installer wants to know of a camera, without a cluster."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

import typer
from rich.text import Text

from cluster.cli.common import EXIT_FAILURE, Commands, out, settings
from pipelines.errors import InputError

app = typer.Typer(cls=Commands)

_STYLES = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}
ITEM_WIDTH = 14
"""Of the longest item, with its mark."""


@app.command(
    "test", epilog="Example: atalaia camera test 'rtsp://viewer:secret@192.0.2.10/stream1'"
)
def check_camera(
    url: Annotated[
        str,
        typer.Argument(
            help="rtsp://, rtsps://, rtmp:// or http(s):// address; - reads it from stdin."
        ),
    ],
    substream: Annotated[
        str | None, typer.Option(help="URL of a smaller stream of the same view.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=600, help="How long to watch the packets.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check a camera and suggest fixes. Atalaia need not be running.

    Checks the connection, sign-in, stream description, codec, picture, key frames, timestamps,
    packet loss, clock and sub-stream. `gateway.allow` of these settings must permit the camera's
    address. Exits with 1 if Atalaia could not use the camera, and with 0 if there are only
    warnings.
    """
    if url == "-":
        url = sys.stdin.readline().strip()
        if not url:
            raise InputError("there is no URL on stdin.", hint="Write it on one line.")
    findings = asyncio.run(_check(url, substream, seconds, shown=not as_json))
    if as_json:
        out().print(json.dumps(findings, indent=2), markup=False)
    if any(finding["verdict"] == "failure" for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


async def _check(
    url: str, substream: str | None, seconds: float, *, shown: bool
) -> list[dict[str, str]]:
    # Here, because all other commands would load libav for it.
    from cluster.media.urls import parse_camera_url
    from cluster.relay.checkup import Checkup

    main = parse_camera_url(url)
    sub = parse_camera_url(substream) if substream else None
    findings: list[dict[str, str]] = []
    async with Checkup.opened(settings()) as checkup:
        async for finding in checkup.camera(main, sub, seconds):
            findings.append(finding.as_dict())
            if shown:
                out().print(_line(findings[-1]))
    return findings


def _line(finding: dict[str, Any]) -> Text:
    mark, style = _STYLES[finding["verdict"]]
    text = Text.assemble((f"{mark} {finding['item']}".ljust(ITEM_WIDTH) + "  ", style))
    text.append(finding["detail"])
    if finding["hint"]:
        text.append("\n" + " " * (ITEM_WIDTH + 2) + f"→ {finding['hint']}", style="yellow")
    return text
