from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.stores.bus.access import PROCESSES


def test_the_file_of_users_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = {process: f"a long password for {process}" for process in PROCESSES}
    monkeypatch.setenv("ATALAIA_REDIS__URL", "redis://:the-administrators@valkey:6379/0")
    monkeypatch.setenv("ATALAIA_REDIS__PASSWORDS", json.dumps(passwords))
    shown = CliRunner().invoke(app, ["redis", "acl"])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("user ") for line in lines)
    assert "password" not in shown.stdout
    assert "the-administrators" not in shown.stdout


def test_without_passwords_it_says_whose_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATALAIA_REDIS__URL", "redis://:the-administrators@valkey:6379/0")
    monkeypatch.setenv("ATALAIA_REDIS__PASSWORDS", '{"api": "long enough, this one"}')
    failed = CliRunner().invoke(app, ["redis", "acl"])
    assert failed.exit_code == 2
    assert "none for agent, bridge, controller, detector, listener" in failed.stderr
