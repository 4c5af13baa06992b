"""Composition of the Serve application; nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.serve import Application

from cluster.core.settings import ApiSettings, DetectorSettings, Settings
from pipelines.errors import ConfigError, ModelError
from serve.app import build


def test_settings_in_hand_are_taken() -> None:
    assert isinstance(build(Settings()), Application)


def test_a_serve_config_file_names_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("detector: {replicas: 2}")
    assert isinstance(build({"config": str(path)}), Application)
    path.write_text("detector: {replicas: 0}")
    with pytest.raises(ConfigError, match=r"detector\.replicas"):
        build({"config": str(path)})


def test_a_slip_in_an_argument_is_said() -> None:
    with pytest.raises(ConfigError, match="configuration"):
        build({"configuration": "x.yaml"})


def test_a_broken_embedder_is_said_before_anything_starts() -> None:
    with pytest.raises(ModelError, match="does not exist"):
        build(Settings(embedder={"model": "/nowhere"}))  # type: ignore[arg-type]


def test_a_detector_is_there_twice_unless_each_takes_a_gpu() -> None:
    assert DetectorSettings().replica_count == 2
    assert DetectorSettings(num_gpus=1).replica_count == 1
    assert DetectorSettings(num_gpus=1, replicas=3).replica_count == 3


@pytest.mark.parametrize(("cores", "replicas"), [(None, 1), (2, 1), (4, 2), (64, 2)])
def test_the_api_is_there_twice_where_there_are_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, replicas: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert ApiSettings().replica_count == replicas
    assert ApiSettings(replicas=5).replica_count == 5
