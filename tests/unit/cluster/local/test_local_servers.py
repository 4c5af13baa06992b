from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.core.settings import DatabaseSettings, Settings
from cluster.local import ray_head
from cluster.local.binaries import GO2RTC, GO_SERVERS, LIVEKIT, find_binary
from cluster.local.secrets import (
    database_key_path,
    livekit_secret_path,
    with_database_key,
    with_secrets,
)
from cluster.local.servers import go2rtc_spec, livekit_spec, needed_ports, valkey_spec
from pipelines.errors import ConfigError

SECRET = "0123456789abcdef0123456789abcdef-x"


def made(tmp_path: Path, **changes: Any) -> Settings:
    base: dict[str, Any] = {"data_dir": tmp_path, "livekit": {"api_secret": SECRET}}
    return Settings(**{**base, **changes})


def test_livekit_listens_on_loopback_and_its_secret_is_in_no_argument(tmp_path: Path) -> None:
    settings = made(tmp_path, livekit={"url": "ws://localhost:7999", "api_secret": SECRET})
    spec = livekit_spec(settings, Path("/bin/livekit-server"))
    assert SECRET not in " ".join(spec.argv)
    spec.prepare()
    config = settings.run_dir / "livekit.yaml"
    assert config.stat().st_mode & 0o077 == 0
    content = yaml.safe_load(config.read_text())
    assert content["keys"] == {"atalaia": SECRET}
    assert content["bind_addresses"] == ["127.0.0.1"]
    assert content["port"] == 7999
    assert content["rtc"]["ips"] == {"includes": ["127.0.0.1/32"]}
    assert content["rtc"]["tcp_port"] == 0
    # Else its participants ask STUN servers of others for their address.
    assert content["rtc"]["stun_servers"] == ["127.0.0.1:9"]


def test_go2rtc_starts_empty_again_whatever_it_wrote_into_its_file(tmp_path: Path) -> None:
    gateway = {"username": "u", "password": "p:#"}
    settings = made(tmp_path, gateway=gateway)
    spec = go2rtc_spec(settings, Path("/bin/go2rtc"))
    spec.prepare()
    config = settings.run_dir / "go2rtc.yaml"
    config.write_text(config.read_text() + "streams:\n  old: rtsp://192.0.2.1/\n")
    spec.prepare()
    content = yaml.safe_load(config.read_text())
    assert "streams" not in content
    assert content["rtsp"] == {"listen": "127.0.0.1:8554", "username": "u", "password": "p:#"}
    assert content["app"] == {"modules": ["api", "rtsp", "rtmp", "http"]}
    assert content["api"] == {
        "listen": "",
        "unix_listen": str(settings.gateway_socket),
        "local_auth": True,
        "allow_paths": ["/api", "/api/streams"],
        "username": "u",
        "password": "p:#",
    }
    assert "p:#" not in " ".join(spec.argv)


def test_valkey_keeps_an_append_only_file_also_in_a_folder_with_spaces(tmp_path: Path) -> None:
    settings = made(tmp_path / "my data", redis={"port": 6391})
    spec = valkey_spec(settings, Path("/bin/valkey-server"))
    spec.prepare()
    text = (settings.run_dir / "valkey.conf").read_text()
    assert "bind 127.0.0.1\nport 6391\n" in text
    assert "appendonly yes" in text
    assert f'dir "{settings.data_dir}/data/redis"' in text


@pytest.mark.parametrize(
    ("section", "key", "url"),
    [
        ("livekit", "url", "ws://0.0.0.0:7880"),
        ("gateway", "api_url", "http://192.0.2.7:1984"),
        ("gateway", "relay_url", "tcp://192.0.2.7:8655"),
        ("gateway", "rtsp_url", "rtsp://cameras.example:8554"),
    ],
)
def test_a_managed_server_off_loopback_is_refused_with_its_setting(
    tmp_path: Path, section: str, key: str, url: str
) -> None:
    base = {"api_secret": SECRET} if section == "livekit" else {}
    with pytest.raises(ConfigError, match=f"{section}.{key}"):
        needed_ports(made(tmp_path, **{section: {**base, key: url}}))


def test_ports_are_needed_only_for_what_we_start(tmp_path: Path) -> None:
    all_ours = {need.port for need in needed_ports(made(tmp_path))}
    assert all_ours == {8000, 7880, 7882, 8655, 8554, 6390, 8265}
    on_a_port = needed_ports(made(tmp_path, gateway={"api_url": "http://127.0.0.1:1984"}))
    assert {need.port for need in on_a_port} == all_ours | {1984}
    settings = made(
        tmp_path,
        livekit={"managed": False, "api_secret": SECRET},
        gateway={"managed": False},
        redis={"url": "redis://127.0.0.1:6379/0"},
        ray={"address": "127.0.0.1:6380"},
    )
    assert {need.port for need in needed_ports(settings)} == {8000}


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = with_secrets(Settings(data_dir=tmp_path))
    again = with_secrets(Settings(data_dir=tmp_path))
    secret = first.livekit.api_secret.get_secret_value()
    assert len(secret) >= 32
    assert again.livekit.api_secret.get_secret_value() == secret
    path = livekit_secret_path(first)
    assert path.stat().st_mode & 0o077 == 0
    other = with_secrets(Settings(data_dir=tmp_path / "other"))
    assert other.livekit.api_secret.get_secret_value() != secret


def test_a_secret_that_is_configured_stays_and_a_short_one_is_refused(tmp_path: Path) -> None:
    assert with_secrets(made(tmp_path)).livekit.api_secret.get_secret_value() == SECRET
    with pytest.raises(ConfigError, match="5 characters"):
        with_secrets(made(tmp_path, livekit={"api_secret": "short"}))
    with pytest.raises(ConfigError, match="not managed"):
        with_secrets(made(tmp_path, livekit={"managed": False}))


def test_the_key_of_the_database_is_made_once_and_outlives_the_run_folder(tmp_path: Path) -> None:
    def key(settings: Settings) -> str:
        found = with_secrets(settings).database.encryption_key
        assert found is not None
        return found.get_secret_value()

    settings = Settings(data_dir=tmp_path)
    made_once = key(settings)
    assert len(made_once) >= 32
    path = database_key_path(settings)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert not path.is_relative_to(settings.run_dir)
    assert not path.is_relative_to(tmp_path / "data")
    shutil.rmtree(settings.run_dir)
    assert key(settings) == made_once
    assert key(Settings(data_dir=tmp_path / "other")) != made_once
    configured = Settings(data_dir=tmp_path, database=DatabaseSettings(encryption_key=SECRET))
    assert key(configured) == SECRET


def test_a_database_of_ones_own_needs_a_key_of_ones_own(tmp_path: Path) -> None:
    url = "postgresql://u:hunter2@127.0.0.1/d"
    settings = Settings(data_dir=tmp_path, database=DatabaseSettings(url=url))
    with pytest.raises(ConfigError, match="encryption_key is not set") as caught:
        with_database_key(settings)
    assert "ATALAIA_DATABASE__ENCRYPTION_KEY" in caught.value.hint
    assert "hunter2" not in str(caught.value)
    assert not database_key_path(settings).exists()


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    """A new one would make every camera unreadable."""
    settings = Settings(data_dir=tmp_path)
    with_database_key(settings)
    path = database_key_path(settings)
    path.write_text("torn")
    with pytest.raises(ConfigError, match="holds no key") as caught:
        with_database_key(settings)
    assert path.read_text() == "torn"
    assert "torn" not in str(caught.value)


@pytest.mark.parametrize("server", GO_SERVERS)
def test_a_pin_names_one_version_and_its_checksums(server: Any) -> None:
    assert server.version().startswith("v1.")
    module = server.package.removesuffix("/cmd/server")
    assert f"{module} {server.version()} h1:" in (server.folder / "go.sum").read_text()


def test_what_was_built_from_other_pins_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    folder = tmp_path / "bin"
    folder.mkdir()
    binary = folder / "go2rtc"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    assert find_binary("go2rtc", tmp_path) is None
    (folder / ".go2rtc.pin").write_text(LIVEKIT.pin())
    assert find_binary("go2rtc", tmp_path) is None
    (folder / ".go2rtc.pin").write_text(GO2RTC.pin())
    assert find_binary("go2rtc", tmp_path) == binary


def test_redis_url_is_taken_where_nothing_closer_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.core.settings import load_settings

    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:7001/0")
    assert load_settings().redis_url == "redis://127.0.0.1:7001/0"
    config = tmp_path / "a.yaml"
    config.write_text("redis: {url: 'redis://127.0.0.1:7002/0'}")
    assert load_settings(config).redis_url == "redis://127.0.0.1:7002/0"
    monkeypatch.setenv("ATALAIA_REDIS__URL", "redis://127.0.0.1:7003/0")
    assert load_settings(config).redis_url == "redis://127.0.0.1:7003/0"


def test_a_missing_ray_token_is_created_with_private_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh machine has none, and `ray start` would end with an error."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    ray_head.ensure_token()
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text(encoding="utf-8")
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    ray_head.ensure_token()
    assert path.read_text(encoding="utf-8") == token


def test_a_token_from_elsewhere_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    ray_head.ensure_token()
    assert not (tmp_path / ".ray").exists()
