from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli.shell import exports
from cluster.core.settings import RaySettings, Settings
from pipelines.errors import ConfigError


def test_a_shell_evaluates_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the folder of our Python is called, and PATH is kept behind it."""
    monkeypatch.setattr(sys, "executable", "/opt/it's $HOME here/bin/python")
    lines = "\n".join(exports(Settings(ray=RaySettings(dashboard_port=8277))))
    shell = subprocess.run(
        ["/bin/sh", "-c", f'{lines}\necho "$RAY_AUTH_MODE|$RAY_API_SERVER_ADDRESS|$PATH"'],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.strip().split("|") == [
        "token",
        "http://127.0.0.1:8277",
        "/opt/it's $HOME here/bin:/usr/bin:/bin",
    ]


def test_an_unmanaged_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto"):
        list(exports(Settings(ray=RaySettings(address="auto"))))


def test_our_python_comes_first_on_the_path(tmp_path: Path) -> None:
    from cluster.local.ray_head import ray_spec

    spec = ray_spec(Settings(data_dir=tmp_path), 6379)
    first, *rest = spec.environment["PATH"].split(os.pathsep)
    assert first == str(Path(sys.executable).parent)
    assert os.pathsep.join(rest) == os.environ["PATH"]
