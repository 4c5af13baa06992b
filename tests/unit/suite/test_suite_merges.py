"""A merge that was committed half done would ship its markers in files that no compiler reads."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MARKER = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)


def test_no_file_holds_the_markers_of_a_merge() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert [p for p in files if p.is_file() and MARKER.search(p.read_bytes())] == []
