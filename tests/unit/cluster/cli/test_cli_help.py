"""Every command has help; a mistake gets a message and the right exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from cluster.cli.main import app

ROOT = typer.main.get_command(app)


def commands(command: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    yield " ".join(path), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands())


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in ("ATALAIA_CONFIG", "ATALAIA_KEY", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner()


def test_the_documented_commands_exist() -> None:
    promised = {"demo", "up", "status", "doctor", "migrate", "servers", "env"}
    promised |= {f"camera {verb}" for verb in ("add", "list", "remove")}
    promised |= {f"key {verb}" for verb in ("create", "list", "rotate", "revoke")}
    promised |= {f"user {verb}" for verb in ("create", "list", "change", "remove")}
    promised |= {f"jobs {verb}" for verb in ("submit", "list", "follow", "cancel")}
    promised |= {
        "tenant create",
        "tenant list",
        "tenant export",
        "tenant verify",
        "audit verify",
        "audit anchor",
    }
    promised |= {"database re-encrypt"}
    promised |= {
        f"secrets {verb}" for verb in ("init", "validate", "check", "rotate", "backup", "restore")
    }
    promised |= {f"erasure {verb}" for verb in ("list", "show", "verify", "key")}
    promised |= {f"recordings {verb}" for verb in ("list", "export", "verify", "register", "mask")}
    promised |= {"recordings status", "recordings confirm-loss"}
    assert promised <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str, runner: CliRunner) -> None:
    command = COMMANDS[name]
    assert (command.help or "").strip()
    marker = "Start with: " if name == "" else "Example: "
    assert (command.epilog or "").startswith(marker)
    assert "atalaia" in command.epilog
    assert all(parameter.help for parameter in command.params if parameter.name != "help")
    shown = runner.invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert command.epilog.split("'")[0].strip() in shown.output


@pytest.mark.parametrize("name", [name for name in COMMANDS if name])
def test_every_example_parses(name: str) -> None:
    """Each example is parsed by its own command."""
    import shlex

    example = COMMANDS[name].epilog.removeprefix("Example: ")
    if "$(" in example:
        example = example.split("$(")[1].rstrip(")")
    words = shlex.split(example)[1:]
    if words[:1] == ["-c"]:
        words = words[2:]
    command = ROOT
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert command is not ROOT
    command.make_context("example", words)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["camera", "list"], "no key for any tenant"),
        (["camera", "list", "--key", "k"], "does not answer"),
        (["key", "create"], "either to a tenant or to the platform"),
        (["key", "create", "acme", "--platform"], "either to a tenant or to the platform"),
        (["-c", "/nowhere/a.yaml", "doctor"], "/nowhere/a.yaml"),
        (["camera", "add", "gate", "-"], "there is no URL on stdin"),
        (["recordings", "list", "--from", "soon", "--to", "later"], "soon is not a time"),
        (["recordings", "verify", "/nowhere/a.mp4", "/nowhere/a.json"], "/nowhere/a.json"),
    ],
)
def test_a_mistake_gets_a_hint(
    arguments: list[str], output: str, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATALAIA_API__PORT", "1")
    result = runner.invoke(app, arguments)
    assert output in result.output
    assert "Traceback" not in result.output
    assert result.exit_code == (1 if "does not answer" in output else 2)


def test_an_unknown_atalaia_variable_is_rejected_by_name(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATALAIA_LIVEKITT__URL", "ws://127.0.0.1:1")
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 2
    assert "ATALAIA_LIVEKITT__URL" in result.output


def test_doctor_checks_the_settings_for_production_where_asked(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    result = runner.invoke(app, ["doctor", "--production", "--json"])
    assert result.exit_code == 1
    assert '"name": "ray token"' in result.output
    assert '"name": "ray token"' not in runner.invoke(app, ["doctor", "--json"]).output


def test_a_wrong_option_is_wrong_input(runner: CliRunner) -> None:
    assert runner.invoke(app, ["camera", "list", "--nonsense"]).exit_code == 2


def test_status_says_that_nothing_runs(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATALAIA_API__PORT", "1")
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 1
    assert "not running" in result.output
