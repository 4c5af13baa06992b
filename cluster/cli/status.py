"""`atalaia status`: the status of the instance on this machine, observed from outside."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table
from rich.text import Text

from cluster.cli.common import EXIT_FAILURE, out, running_api, settings
from cluster.core.files import read_json
from cluster.core.settings import Settings
from cluster.local.stack import STATE_FILE, Phase, running_owner

TIMEOUT_S = 5.0
"""Per request."""


@dataclass(frozen=True, slots=True)
class Line:
    """The status of one component."""

    name: str
    ok: bool
    state: str
    detail: str


def stack_lines(state: dict[str, Any]) -> list[Line]:
    """The local servers, from the state file of the process that owns them."""
    lines = []
    for part in state.get("parts", ()):
        facts = [part["detail"]] if part["detail"] else []
        if part["pid"] is not None:
            facts.append(f"process {part['pid']}")
        if part["restarts"]:
            facts.append(f"restarted {part['restarts']} times")
        ok = part["phase"] == Phase.READY
        lines.append(Line(part["part"], ok, part["phase"], ", ".join(facts)))
    return lines


async def api_lines(base: str) -> list[Line]:
    """The API and its dependencies, from `/readyz`."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = (await client.get(f"{base}/readyz")).json()
    except (httpx.HTTPError, ValueError) as error:
        return [Line("api", False, "away", f"{base}: {type(error).__name__}")]
    dependencies = answer.get("dependencies") or {}
    ready = answer.get("status") == "ready"
    lines = [Line("api", ready, "ready" if ready else "not ready", base)]
    for name, known in dependencies.items():
        state = str(known.get("status"))
        detail = str(known.get("detail") or known.get("reason") or "")
        lines.append(Line(f"api → {name}", state == "up", state, detail))
    return lines


def collect(chosen: Settings) -> list[Line]:
    state = read_json(chosen.run_dir / STATE_FILE)
    if state is None or running_owner(chosen) is None:
        lines = [Line("local servers", False, "not running", "`atalaia up` starts them")]
    else:
        lines = stack_lines(state)
    return lines + asyncio.run(api_lines(running_api(chosen)))


def status(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Show what runs. Exit code 0 if everything is ready, else 1."""
    lines = collect(settings())
    if as_json:
        out().print(json.dumps([asdict(line) for line in lines], indent=2), markup=False)
    else:
        table = Table.grid(padding=(0, 2))
        for line in lines:
            style = "green" if line.ok else "red"
            mark = "✓" if line.ok else "✗"
            table.add_row(
                Text(f"{mark} {line.name}", style=style), line.state, Text(line.detail, style="dim")
            )
        out().print(table)
    if not all(line.ok for line in lines):
        raise typer.Exit(EXIT_FAILURE)
