"""Documents that must say what is."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NOT_YET = {"docs/images/dashboard.png"}
"""Pictures that are taken of the running product."""
TOPS = "agents|benchmarks|cluster|configs|docs|pipelines|serve|tests"


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower()


def _documented() -> dict[str, list[str]]:
    """Names by section of docs/dependencies.md; the first section is what runs."""
    sections: dict[str, list[str]] = {}
    current = ""
    for line in (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            current = (re.findall(r"`(\w+)`", line) or [""])[0]
            sections[current] = []
        elif row := re.fullmatch(r"\| `([a-z0-9@/-]+)` \| (.{10,}) \|", line):
            sections[current].append(row[1])
    return sections


def test_every_dependency_has_its_line_and_every_line_its_dependency() -> None:
    expected = {"": [_name(r) for r in PROJECT["dependencies"]]} | {
        extra: [_name(r) for r in group]
        for extra, group in PROJECT["optional-dependencies"].items()
    }
    page = json.loads((ROOT / "serve/dashboard/web/package.json").read_text(encoding="utf-8"))
    expected["npm"] = [*page["dependencies"], *page["devDependencies"]]
    documented = _documented()
    assert documented.keys() == expected.keys()
    for section, names in expected.items():
        assert sorted(documented[section]) == sorted(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        there = (page.parent / target).resolve()
        assert there.exists() or str(there.relative_to(ROOT)) in NOT_YET, f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths in code marks, from the root; `NNNN` stands for a number to be chosen."""
    for path in re.findall(rf"`((?:{TOPS})/[\w./-]*)`", page.read_text(encoding="utf-8")):
        assert "NNNN" in path or (ROOT / path).exists(), f"{page}: {path}"


def _walk() -> list[tuple[str, str]]:
    """File and function of each step of the walk of a frame."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\| \d+ \| `([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE)


def _defined(tree: ast.Module) -> set[str]:
    """Functions of a module, and `Class.method`s."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    names = {node.name for node in tree.body if isinstance(node, kinds)}
    for owner in tree.body:
        if isinstance(owner, ast.ClassDef):
            names |= {f"{owner.name}.{node.name}" for node in owner.body if isinstance(node, kinds)}
    return names


def test_the_walk_of_a_frame_names_what_there_is() -> None:
    steps = _walk()
    assert len(steps) >= 20
    for file, function in steps:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert function in _defined(tree), f"{file} has no {function}"


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert PROJECT["version"] in headings or PROJECT["version"] == "0.1.0"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/decisions/*.md")), ids=lambda p: p.stem)
def test_decisions_have_their_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(r"# \d{4}: .+", text)
    assert text.startswith(f"# {page.stem[:4]}: ")
    for part in ("Status: ", "## Context", "## Decision", "## Consequences"):
        assert part in text


def test_versions_agree() -> None:
    """One version in the project, the image and the deployments."""
    version = PROJECT["version"]
    for name in ("Dockerfile", "configs/compose.yaml", "configs/kuberay-rayservice.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found = set(re.findall(r"(?:atalaia:|VERSION=)(\d+\.\d+\.\d+)", text))
        assert found == {version}, name
