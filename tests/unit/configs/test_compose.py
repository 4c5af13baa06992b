"""The compose file, read as compose reads it."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from cluster.core.settings import Settings, load_settings
from cluster.relay.server import RelayConfig
from cluster.stores.bus.access import PROCESSES, acl_file

CONFIGS = Path(__file__).parents[3] / "configs"
TEXT = (CONFIGS / "compose.yaml").read_text(encoding="utf-8")
REFERENCE = re.compile(r"\$\{([A-Z_]+)(:\?|:-)?([^}]*)\}")
REQUIRED = {name for name, kind, _ in REFERENCE.findall(TEXT) if kind == ":?"}
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|API_KEY|ENCRYPTION_KEY|USERNAME")


def _compose() -> Any:
    """The file with every required variable given."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        return rest if kind == ":-" else f"given-{name.lower().replace('_', '-')}"

    return yaml.safe_load(REFERENCE.sub(value, TEXT))


COMPOSE = _compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("valkey-users", "migrate", "ray-head", "ray-worker", "app")
ROLES = (*OURS, "relay")


def test_every_secret_is_required_and_says_so() -> None:
    for name, kind, message in REFERENCE.findall(TEXT):
        if SECRET.search(name):
            assert kind == ":?", f"{name} has a default"
            assert message.startswith(f"set {name} in .env")


def test_no_variable_is_used_bare() -> None:
    assert all(kind for _, kind, _ in REFERENCE.findall(TEXT))


def test_the_example_names_every_required_variable_and_gives_none() -> None:
    lines = (CONFIGS / "env.example").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given.keys() == REQUIRED
    assert set(given.values()) == {""}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.match(r"v?\d+\.\d+", tag), f"{name} runs {tag}"


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (CONFIGS / source).is_file(), source
        else:
            assert source in COMPOSE["volumes"]
    for other, how in service.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"], f"{other} has no health check"


def test_only_what_must_be_reached_has_ports() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert set(published) == {"livekit", "ray-head"}
    assert published["ray-head"] == ["127.0.0.1:8000:8000"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", OURS)
def test_our_environment_makes_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES[name]["environment"]
    for key, value in environment.items():
        if key.startswith("ATALAIA_") and key != "ATALAIA_CONFIG":
            monkeypatch.setenv(key, value)
    settings = load_settings(CONFIGS / Path(environment["ATALAIA_CONFIG"]).name)
    assert settings.redis_url == "redis://:given-valkey-password@valkey:6379/0"
    assert settings.gateway.password
    # Each kind of process has a user in Valkey, and each kind of work a login in PostgreSQL.
    passwords = {p.get_secret_value() for p in settings.redis.passwords.values()}
    assert settings.redis.passwords.keys() == set(PROCESSES)
    assert len(passwords | {"given-valkey-password"}) == len(PROCESSES) + 1
    logins = {make_url(url).username for url in _database_urls(settings)}
    assert logins == {"atalaia_app", "atalaia_app_tenant"} | (
        {"atalaia"} if name == "migrate" else set()
    )
    assert environment["RAY_AUTH_TOKEN"] == "given-ray-auth-token"


def _database_urls(settings: Settings) -> list[str]:
    assert settings.database.tenant_url is not None
    tenant = settings.database.tenant_url.get_secret_value()
    return [settings.database_url, tenant, settings.migration_url]


def test_valkey_starts_with_the_users_that_the_settings_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the service `valkey-users` writes is what `valkey` reads, and has no password."""
    writer, server = SERVICES["valkey-users"], SERVICES["valkey"]
    assert writer["command"] == ["sh", "-c", "atalaia redis acl > /users/users.acl"]
    assert server["command"][-2:] == ["--aclfile", "/users/users.acl"]
    assert "--requirepass" not in server["command"]
    assert "valkey-users:/users" in writer["volumes"]
    assert "valkey-users:/users:ro" in server["volumes"]
    completed = {"condition": "service_completed_successfully"}
    assert server["depends_on"]["valkey-users"] == completed
    for key, value in writer["environment"].items():
        if key.startswith("ATALAIA_") and key != "ATALAIA_CONFIG":
            monkeypatch.setenv(key, value)
    settings = load_settings(CONFIGS / "production.yaml")
    users = acl_file(settings.redis_url, settings.redis.passwords)
    assert users.count("user atalaia-") == len(PROCESSES)
    assert f"user default on #{sha256(b'given-valkey-password').hexdigest()}" in users
    assert "given-" not in users


def test_only_the_migration_has_the_owners_password() -> None:
    owners = {
        name
        for name, service in SERVICES.items()
        if "given-postgres-password" in str(service.get("environment"))
    }
    assert owners == {"migrate", "postgres"}


def test_the_relay_knows_the_services_and_none_of_their_passwords(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = SERVICES["relay"]["environment"]
    assert not any("given" in str(v) for k, v in environment.items() if not k.endswith("SECRET"))
    for key, value in environment.items():
        if key != "ATALAIA_CONFIG":
            monkeypatch.setenv(key, value)
    settings = load_settings(CONFIGS / Path(environment["ATALAIA_CONFIG"]).name)
    monkeypatch.setenv("ATALAIA_GATEWAY__SECRET", "x" * 32)
    config = RelayConfig.of(load_settings(CONFIGS / Path(environment["ATALAIA_CONFIG"]).name))
    hosts = {service.host for service in config.services}
    assert {"valkey", "postgres", "qdrant", "livekit", "go2rtc", "relay", "ray-head"} <= hosts
    assert settings.gateway.relay_port == 8655


@pytest.mark.parametrize("gateway", ["go2rtc", "mediamtx"])
def test_a_gateway_has_no_way_out(gateway: str) -> None:
    assert SERVICES[gateway]["networks"] == ["inside"]
    assert SERVICES["relay"]["networks"] == ["inside", "outside"]


def test_one_image_for_every_role() -> None:
    assert len({SERVICES[name]["image"] for name in ROLES}) == 1
    assert SERVICES["app"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
