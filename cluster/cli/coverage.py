"""`atalaia coverage`: how long cameras were analysed and blind, and why, through the API."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.table import Table

from cluster.cli.api import ApiClient, find_client
from cluster.cli.cameras import KeyOption, TenantOption
from cluster.cli.common import out, settings

MAX_GAPS = 10_000
"""Shown at most; the API has the rest."""
_PAGE = 1_000


def coverage(
    camera: Annotated[str | None, typer.Argument(help="Only of this camera.")] = None,
    hours: Annotated[
        float, typer.Option(min=0.25, max=2_208, help="How far back; all cameras: at most 168.")
    ] = 24.0,
    gaps: Annotated[bool, typer.Option("--gaps", help="Also when they were blind.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Show how long cameras were analysed and how long they were blind, by cause."""
    until = datetime.now(UTC)
    query = {"since": (until - timedelta(hours=hours)).isoformat(), "until": until.isoformat()}
    if camera is not None:
        query["camera"] = camera
    client = find_client(settings(), key, tenant)
    found = asyncio.run(fetch(client, query, every_gap=gaps or as_json))
    if as_json:
        out().print(json.dumps(found, indent=2), markup=False)
        return
    if not found["cameras"]:
        out().print("nothing is known of this time")
        return
    out().print(totals_table(found["cameras"]))
    if gaps:
        out().print(gaps_table(found["gaps"]))


async def fetch(client: ApiClient, query: dict[str, str], *, every_gap: bool) -> dict[str, Any]:
    """The API's answer, with the gaps of all pages if `every_gap`. Raises as `request`."""
    query = query | {"limit": str(_PAGE if every_gap else 1)}
    found: dict[str, Any] = await client.request("GET", f"/v1/coverage?{urlencode(query)}")
    page = found
    while every_gap and page["next_cursor"] and len(found["gaps"]) < MAX_GAPS:
        following = urlencode(query | {"cursor": page["next_cursor"]})
        page = await client.request("GET", f"/v1/coverage?{following}")
        found["gaps"] += page["gaps"]
        found["next_cursor"] = page["next_cursor"]
    return found


def totals_table(cameras: list[dict[str, Any]]) -> Table:
    """A row per camera."""
    table = Table(box=None, header_style="dim")
    for title in ("camera", "analysed", "expected", "blind", "causes"):
        table.add_column(title)
    for one in cameras:
        share = f"{one['analysed_s'] / one['expected_s']:.2%}" if one["expected_s"] else "-"
        causes = ", ".join(f"{cause} {duration(s)}" for cause, s in one["causes"].items())
        style = "red" if one["blind_s"] >= 60 else ""
        expected, blind = duration(one["expected_s"]), duration(one["blind_s"])
        table.add_row(one["camera"], share, expected, blind, causes, style=style)
    return table


def gaps_table(gaps: list[dict[str, Any]]) -> Table:
    """A row per gap."""
    table = Table(box=None, header_style="dim")
    for title in ("camera", "cause", "since", "until"):
        table.add_column(title)
    for gap in gaps:
        table.add_row(gap["camera"], gap["cause"], gap["since"], gap["until"])
    return table


def duration(seconds: float) -> str:
    """For people: `45.2 s`, `3 min 20 s`, `5 h 7 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
