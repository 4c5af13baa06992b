from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from cluster.core.settings import Settings
from cluster.local.doctor import Finding, Level, examine
from tests.ports import free_port


def findings(tmp_path: Path, **changes: Any) -> dict[str, Finding]:
    loopback = "127.0.0.1"
    base: dict[str, Any] = {
        "data_dir": tmp_path,
        "api": {"port": free_port()},
        "redis": {"port": free_port()},
        "ray": {"dashboard_port": free_port()},
        "livekit": {"url": f"ws://{loopback}:{free_port()}", "rtc_udp_port": free_port("udp")},
        "gateway": {
            "api_url": f"http://{loopback}:{free_port()}",
            "rtsp_url": f"rtsp://{loopback}:{free_port()}",
        },
    }
    return {finding.name: finding for finding in examine(Settings(**{**base, **changes}))}


def test_every_problem_has_a_remedy(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert {"python", "packages", "livekit-server", "go2rtc", "redis", "ports"} <= set(found)
    assert {"model", "gpu", "dashboard", "disk", "memory", "open files"} <= set(found)
    assert all(finding.remedy for finding in found.values() if finding.level is not Level.OK)


def test_without_a_server_and_without_go_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = findings(tmp_path)
    assert found["livekit-server"].level is Level.FAILURE
    assert "https://go.dev/dl" in found["livekit-server"].remedy


def test_another_version_on_path_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "go2rtc"
    program.write_text("#!/bin/sh\necho go2rtc version 1.2.3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = findings(tmp_path)["go2rtc"]
    assert found.level is Level.WARNING
    assert "1.2.3" in found.detail
    assert "1.9.14" in found.remedy


def test_a_taken_port_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = findings(tmp_path, api={"port": port})
    assert found["port"].level is Level.FAILURE
    assert str(port) in found["port"].detail
    assert "ATALAIA_API__PORT=" in found["port"].remedy


def test_a_database_of_ones_own_without_a_key_is_found(tmp_path: Path) -> None:
    database = {"url": f"sqlite:///{tmp_path}/own.db"}
    missing = findings(tmp_path, database=database)["database_key"]
    assert missing.level is Level.FAILURE
    assert "ATALAIA_DATABASE__ENCRYPTION_KEY" in missing.remedy
    key = "a-key-for-the-records-of-tests-0001"
    given = findings(tmp_path, database=database | {"encryption_key": key})["database_key"]
    assert given.level is Level.OK
    assert key not in given.detail
    assert findings(tmp_path)["database_key"].level is Level.OK
    assert not (tmp_path / "keys").exists()  # looking makes none


def test_a_model_that_is_not_there_is_found(tmp_path: Path) -> None:
    missing = findings(tmp_path, detector={"weights": str(tmp_path / "my.pt")})["model"]
    assert missing.level is Level.FAILURE
    (tmp_path / "my.pt").write_bytes(b"x" * 100)
    assert findings(tmp_path, detector={"weights": str(tmp_path / "my.pt")})["model"].level == "ok"
    hub = findings(tmp_path, detector={"weights": "yolo11x.pt"})["model"]
    assert hub.level is Level.WARNING


def test_a_requested_gpu_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert findings(tmp_path)["gpu"].level is Level.OK
    assert findings(tmp_path, detector={"num_gpus": 1})["gpu"].level is Level.FAILURE


def test_an_unmanaged_server_is_probed_without_showing_its_password(tmp_path: Path) -> None:
    url = f"redis://user:hunter2@127.0.0.1:{free_port()}/0"
    found = findings(tmp_path, redis={"url": url})["redis"]
    assert found.level is Level.FAILURE
    assert "hunter2" not in found.detail + found.remedy


def test_a_wrong_setting_is_a_finding_and_other_checks_still_run(tmp_path: Path) -> None:
    found = findings(tmp_path, livekit={"url": "ws://0.0.0.0:7880"})
    assert found["ports"].level is Level.FAILURE
    assert "loopback" in found["ports"].detail
    assert "disk" in found
