"""The workflows call what exists, pin what they use, and may no more than they need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".github" / "workflows"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.iterdir())}
FILES: dict[str, dict[Any, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [
    (name, job, content) for name, file in FILES.items() for job, content in file["jobs"].items()
]
IDS = [f"{name}.{job}" for name, job, _ in JOBS]

# Who may write what, and nobody else: to publish the image, to sign, to make the release's page.
WRITERS = {
    ("release", "image"): {"packages", "id-token"},
    ("release", "publish"): {"contents"},
}


def runs() -> Iterator[tuple[str, str]]:
    for name, job, content in JOBS:
        for step in content.get("steps", ()):
            if "run" in step:
                yield f"{name}.{job}", step["run"]


def test_every_target_of_make_that_they_call_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    called = {target for _, run in runs() for target in re.findall(r"\bmake ([a-z-]+)", run)}
    assert {"lint", "test"} <= called
    assert called <= targets


def test_they_do_what_ci_does() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    wanted = set(re.findall(r"^make ([a-z-]+)$", script, re.MULTILINE))
    assert wanted
    called = {run.removeprefix("make ") for place, run in runs() if place.startswith("ci.")}
    assert wanted <= called


def test_files_that_they_name_exist() -> None:
    named = {
        path
        for text in TEXTS.values()
        for path in re.findall(r"(?<![\w./])(?:\.github|configs|serve)/[\w./-]+\w", text)
    }
    assert "configs/requirements-runtime.lock" in named
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", FILES)
def test_actions_are_pinned_by_commit_and_say_which_version_it_is(name: str) -> None:
    used = re.findall(r"uses: (\S+)(.*)", TEXTS[name])
    for action, comment in used:
        if action.startswith("./"):
            assert (ROOT / action).is_file()
            continue
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
    by_action: dict[str, set[str]] = {}
    for action, _ in (
        use for text in TEXTS.values() for use in re.findall(r"uses: (\S+)(.*)", text)
    ):
        by_action.setdefault(action.partition("@")[0], set()).add(action)
    assert all(len(versions) == 1 for versions in by_action.values()), by_action


def test_other_programs_are_pinned_by_version() -> None:
    for place, run in runs():
        for image in re.findall(r"\b(?:ghcr|docker)\.io/[\w./-]+\S*", run):
            if "$" not in image:
                assert image == "ghcr.io" or re.search(r":\d+\.\d+\.\d+$", image), place
        for package in re.findall(r"pip install .*?(\S+)$", run, re.MULTILINE):
            assert re.search(r"==\d", package), place
        for module in re.findall(r"go (?:run|install) (\S+)", run):
            assert re.search(r"@v\d+\.\d+\.\d+$", module), place


@pytest.mark.parametrize("name", FILES)
def test_a_workflow_reads_only(name: str) -> None:
    assert FILES[name]["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(("name", "job", "content"), JOBS, ids=IDS)
def test_a_job_may_write_what_it_must_and_ends(name: str, job: str, content: Any) -> None:
    writes = {what for what, how in content.get("permissions", {}).items() if how != "read"}
    assert writes == WRITERS.get((name, job), set())
    if "uses" not in content:
        assert content["timeout-minutes"] <= 90
        assert re.fullmatch(r"ubuntu-\d\d\.04", content["runs-on"]), "not what is latest one day"


def test_pull_requests_get_no_secret_and_no_key_stays_in_the_checkout() -> None:
    for name, text in TEXTS.items():
        # YAML 1.1 reads the key `on` as true.
        assert "pull_request_target" not in FILES[name][True]
        assert "secrets." not in text
        assert "secrets: inherit" not in text
        checkouts = text.count("uses: actions/checkout@")
        assert text.count("persist-credentials: false") == checkouts


def test_what_others_chose_is_never_a_part_of_a_command() -> None:
    """A branch or title can hold a command; an expression in `run` would execute it."""
    for place, run in runs():
        assert "${{" not in run, place


def test_nothing_is_released_that_ci_has_not_passed() -> None:
    jobs = FILES["release"]["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert (jobs["image"]["needs"], jobs["publish"]["needs"]) == ("ci", "image")
    assert "workflow_call" in FILES["ci"][True]
    script = "\n".join(run for place, run in runs() if place == "release.image")
    assert "--sbom=true" in script
    # By digest: a tag may be moved between building and signing.
    assert 'cosign sign --yes "$IMAGE@$DIGEST"' in script
