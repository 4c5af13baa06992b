"""`atalaia coverage`: what it shows of the API's answer."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cluster.cli.coverage import duration, gaps_table, totals_table


def shown(table: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_camera_with_its_share_and_causes() -> None:
    gate = {"camera": "gate", "expected_s": 3_600.0, "analysed_s": 3_420.0, "blind_s": 180.0}
    yard = {"camera": "yard", "expected_s": 0.0, "analysed_s": 0.0, "blind_s": 0.0}
    causes = {"camera": 150.0, "watcher": 30.0}
    assert shown(totals_table([gate | {"causes": causes}, yard | {"causes": {}}])) == [
        "camera analysed expected blind causes",
        "gate 95.00% 1 h 0 min 3 min 0 s camera 2 min 30 s, watcher 30.0 s",
        "yard - 0.0 s 0.0 s",
    ]


def test_gaps() -> None:
    gap = {"camera": "gate", "cause": "camera", "since": "10:00", "until": "10:05"}
    assert shown(gaps_table([gap]))[1:] == ["gate camera 10:00 10:05"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (59.9, "59.9 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
