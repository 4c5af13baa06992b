"""The glossary names places that exist, and every term once."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `([^`|]+)` \|$", TEXT, re.MULTILINE)
PLACES = [place for _, _, place in ROWS]


def _module(parts: list[str]) -> Path | None:
    path = ROOT.joinpath(*parts)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


@cache
def _body(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text(encoding="utf-8")).body


def _named(body: list[ast.stmt], name: str) -> ast.stmt | None:
    """The class, function, constant or field of that name."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        if name in names:
            return node
    return None


def _exists(place: str) -> bool:
    """Whether a path, or `module`, `module.Name` or `module.Class.member`, is in the tree."""
    if "/" in place:
        return (ROOT / place).exists()
    parts = place.split(".")
    for length in range(len(parts), 0, -1):
        file = _module(parts[:length])
        if file is None:
            continue
        body = _body(file)
        for name in parts[length:]:
            found = _named(body, name)
            if found is None:
                return False
            body = found.body if isinstance(found, ast.ClassDef) else []
        return True
    return False


@pytest.mark.parametrize("place", PLACES)
def test_every_place_exists(place: str) -> None:
    assert _exists(place), f"docs/glossary.md names {place}, which is not in the tree (any more)"


def test_every_row_is_read() -> None:
    rows = [line for line in TEXT.splitlines() if re.match(r"\| (?!Term )\S", line)]
    assert len(rows) == len(ROWS)


def test_every_term_stands_once() -> None:
    terms = [term.lower() for names, _, _ in ROWS for term in names.split(", ")]
    assert sorted(terms) == sorted(set(terms))


@pytest.mark.parametrize(
    "place", ["pipelines.nothing", "pipelines.domain.frames.Nothing", "docs/nothing.md", "nothing"]
)
def test_what_is_missing_is_noticed(place: str) -> None:
    assert not _exists(place)
