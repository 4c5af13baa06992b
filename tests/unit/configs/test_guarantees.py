"""What docs/guarantees.md promises is held by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


def test_the_numbers_go_up_by_one() -> None:
    numbers = [int(number) for number in re.findall(r"^\*\*G(\d+)\. ", TEXT, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 16


def test_each_promise_is_held_by_tests() -> None:
    promises = re.split(r"^\*\*G\d+\. ", TEXT, flags=re.MULTILINE)[1:]
    assert [text.partition("\n")[0] for text in promises if "- Held by: `tests/" not in text] == []


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda part: part.rpartition("/")[2])
def test_every_named_test_exists(file: str, test: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE), f"{file} has no {test}"
