"""How commands show what checks found."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from cluster.cli.common import out
from cluster.local.doctor import Finding, Level

_STYLES = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.FAILURE: ("✗", "red")}


def show_findings(findings: Iterable[Finding]) -> None:
    """One row for each, with what to do under those that need something."""
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        mark, style = _STYLES[finding.level]
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n→ {finding.remedy}", style="yellow")
        table.add_row(Text(f"{mark} {finding.name}", style=style), detail)
    out().print(table)
