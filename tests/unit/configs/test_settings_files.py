"""Every settings file loads, and none of them holds a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from cluster.core.settings import ENV_PREFIX, Settings, load_settings, read_yaml

CONFIGS = Path(__file__).parents[3] / "configs"
NAMES = ("local", "demo", "production")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def _load(name: str) -> Settings:
    return load_settings(CONFIGS / f"{name}.yaml")


def _secrets(section: BaseModel, path: str = "") -> dict[str, str]:
    """Every secret of the tree that holds something."""
    found: dict[str, str] = {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            found |= _secrets(value, f"{path}{key}.")
        elif isinstance(value, SecretStr) and value.get_secret_value():
            found[path + key] = value.get_secret_value()
        elif isinstance(value, tuple) and any(isinstance(one, SecretStr) for one in value):
            found[path + key] = "several"
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_holds_no_secret(name: str) -> None:
    assert _secrets(_load(name)) == {}


@pytest.mark.parametrize("name", ["local", "demo"])
def test_one_machine_stays_on_loopback(name: str) -> None:
    settings = _load(name)
    addresses = (
        settings.livekit.url, settings.gateway.relay_url, settings.gateway.rtsp_url,
        settings.api_url, settings.redis_url,
    )  # fmt: skip
    assert all("127.0.0.1" in address for address in addresses)
    assert settings.gateway_api_url.startswith("unix://")
    assert settings.gateway.relay_bind == "127.0.0.1"
    assert settings.livekit.managed
    assert settings.gateway.managed
    assert settings.ray.address is None


def test_local_says_what_the_defaults_are() -> None:
    """local.yaml spells out defaults for its readers: they must be the real ones."""
    written = _load("local").model_dump(exclude={"log"})
    assert written == Settings().model_dump(exclude={"log"})


def test_production_starts_nothing_here() -> None:
    settings = _load("production")
    assert not settings.livekit.managed
    assert not settings.gateway.managed
    assert settings.ray.address
    assert settings.qdrant.url
    assert settings.api.url


def test_production_takes_its_secrets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable that the file names in its head comment is one that the settings know."""
    text = (CONFIGS / "production.yaml").read_text(encoding="utf-8")
    names = {word.strip(",") for word in text.split() if word.startswith(ENV_PREFIX)}
    names = {n for n in names if "__" in n and "=" not in n}
    assert len(names) >= 8
    for name in names:
        given = '["given"]' if name.endswith("KEYS") else "given"
        monkeypatch.setenv(name, "wss://given" if name.endswith("URL") else given)
    assert set(_secrets(_load("production"))) == {
        "livekit.api_secret", "gateway.password", "gateway.secret", "redis.url", "database.url",
        "database.tenant_url", "database.migration_url", "database.encryption_key",
        "qdrant.api_key", "api.media_secret", "audit.secret", "auth.keys",
    }  # fmt: skip


def test_every_key_is_a_setting() -> None:
    for name in NAMES:
        sections = read_yaml(CONFIGS / f"{name}.yaml")
        assert set(sections) <= set(Settings.model_fields)
