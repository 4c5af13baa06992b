"""The files of the other servers: open nowhere by accident, no secret inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.local.servers import GO2RTC_MODULES

CONFIGS = Path(__file__).parents[3] / "configs"
VARIABLE = re.compile(r"^\$\{[A-Z_]+\}$")


def _read(name: str) -> Any:
    return yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))


def test_livekit_has_no_keys_of_its_own() -> None:
    config = _read("livekit.yaml")
    assert "keys" not in config
    assert "password" not in config["redis"]
    assert config["rtc"]["use_external_ip"] is True


@pytest.mark.parametrize("server", ["api", "rtsp"])
def test_go2rtc_asks_for_a_password_from_the_environment(server: str) -> None:
    config = _read("go2rtc.yaml")[server]
    assert VARIABLE.fullmatch(config["username"])
    assert VARIABLE.fullmatch(config["password"])


def test_go2rtc_loads_what_it_needs_and_nothing_else() -> None:
    config = _read("go2rtc.yaml")
    assert config["app"]["modules"] == list(GO2RTC_MODULES)
    assert config["api"]["local_auth"] is True
    assert config["api"]["allow_paths"] == ["/api", "/api/streams"]
    assert config["rtmp"]["listen"] == ""


def test_mediamtx_opens_rtsp_and_its_api_only() -> None:
    config = _read("mediamtx.yml")
    assert config["api"] is config["rtsp"] is True
    for server in ("rtmp", "hls", "webrtc", "srt", "moq", "metrics", "pprof", "playback"):
        assert config[server] is False, server
    assert config["rtspTransports"] == ["tcp"]


def test_mediamtx_lets_nobody_in_by_the_file_alone() -> None:
    users = _read("mediamtx.yml")["authInternalUsers"]
    assert users
    for user in users:
        assert user["user"] != "any"
        assert re.fullmatch(r"sha256:[A-Za-z0-9+/]{43}=", user["pass"])
        assert {p["action"] for p in user["permissions"]} <= {"api", "read"}


def test_valkey_keeps_what_passes_through_it() -> None:
    lines = (CONFIGS / "valkey.conf").read_text(encoding="utf-8").splitlines()
    assert "appendonly yes" in lines
    assert "maxmemory-policy noeviction" in lines
    assert not any(line.startswith(("requirepass", "user ")) for line in lines)
