"""Commands log to stderr, at the level of the settings; their results alone are on stdout."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from cluster.cli.api import find_client, find_platform_client
from cluster.cli.common import settings
from cluster.cli.main import app
from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.local.stack import LOCK_FILE
from pipelines.errors import InputError


def test_a_command_configures_logging_and_leaves_the_process_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ATALAIA_LOG__LEVEL", "warning")
    before = structlog.get_config()
    CliRunner().invoke(app, ["camera", "test", "--seconds", "1", "rtsp://127.0.0.1:9/x", "--json"])
    assert structlog.get_config() == before
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert json.loads(result.stdout)


def test_lines_go_to_the_stderr_of_the_moment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ATALAIA_LOG__LEVEL", "warning")
    before = structlog.get_config()
    log = get_logger("test")
    try:
        settings()
        log.info("not shown")
        log.warning("shown")
    finally:
        structlog.configure(**before)
    printed = capsys.readouterr()
    assert (printed.out, "not shown" in printed.err) == ("", False)
    assert json.loads(printed.err)["event"] == "shown"


def test_what_is_missing_while_the_demo_starts_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its keys and its tables are made later than its lock."""
    chosen = Settings(data_dir=tmp_path)
    monkeypatch.setenv("ATALAIA_DATA_DIR", str(tmp_path))
    for find in (
        lambda: find_client(chosen, None, None),
        lambda: find_platform_client(chosen, None),
    ):
        with pytest.raises(InputError) as missing:
            find()
        assert "starting" not in missing.value.hint
    assert "starting" not in CliRunner().invoke(app, ["tenant", "list"]).stderr
    chosen.run_dir.mkdir(parents=True, exist_ok=True)
    with (chosen.run_dir / LOCK_FILE).open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        for find in (
            lambda: find_client(chosen, None, None),
            lambda: find_platform_client(chosen, None),
        ):
            with pytest.raises(InputError) as missing:
                find()
            assert "4711" in missing.value.hint
            assert "wait until it says `ready`" in missing.value.hint
        listed = CliRunner().invoke(app, ["tenant", "list"])
    assert listed.exit_code == 1
    assert "no such table" in listed.stderr
    assert "wait until it says `ready`" in listed.stderr
