"""Settings that start, and that nobody should run a cluster with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.core.settings import RedisProcess, Settings
from cluster.local.doctor import Finding, Level
from cluster.local.production_checks import examine_production, secrets_of

ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-cluster"}
PROCESSES: tuple[RedisProcess, ...] = (
    "api", "agent", "bridge", "controller", "detector", "listener"
)  # fmt: skip


def secret(of: str) -> str:
    """Each its own, as long as it has to be."""
    return f"{of}-0123456789-abcdefghijklmnop-{of}"


GOOD: dict[str, Any] = {
    "livekit": {
        "public_url": "wss://live.acme.org", "api_secret": secret("livekit"), "managed": False
    },
    "gateway": {
        "managed": False, "secret": secret("gateway"), "password": secret("password"),
        "deny": ["10.42.0.0/16"],
    },
    "redis": {
        "url": f"rediss://:{secret('redis')}@redis:6379/0",
        "passwords": {process: secret(process) for process in PROCESSES},
    },
    "database": {
        "url": f"postgresql+psycopg://a:{secret('db')}@db/a?sslmode=verify-full",
        "tenant_url": f"postgresql+psycopg://t:{secret('tenant')}@db/a?sslmode=verify-full",
        "encryption_key": secret("encryption"),
    },
    "qdrant": {"url": "https://qdrant:6333", "api_key": secret("qdrant")},
    "blobs": {"url": "s3://atalaia"},
    "ray": {"address": "auto"},
    "api": {
        "url": "https://atalaia.acme.org", "media_secret": secret("media"),
        "trusted_proxies": ["10.0.3.7/32"], "metrics": {"public": False},
    },
    "audit": {"secret": secret("audit")},
    "auth": {"keys": [secret("tokens")]},
    "log": {"format": "json"},
}  # fmt: skip


def findings(environment: dict[str, str] | None = None, **changes: Any) -> dict[str, Finding]:
    """Of good settings with some changes: `section__key` and a value."""
    tree: dict[str, Any] = {section: dict(keys) for section, keys in GOOD.items()}
    for place, value in changes.items():
        section, _, key = place.partition("__")
        if value is None:
            del tree[section][key]
        else:
            tree[section][key] = value
    found = examine_production(Settings(**tree), ENVIRONMENT | (environment or {}))
    assert len({finding.name for finding in found}) == len(found)
    return {finding.name: finding for finding in found}


def test_good_settings_have_nothing_to_mend() -> None:
    assert {f.name: f.detail for f in findings().values() if f.level is not Level.OK} == {}


@pytest.mark.parametrize(
    ("name", "level", "changes", "says"),
    [
        ("examples", "failure", {"api__url": "https://atalaia.example.com"}, "api.url"),
        ("public addresses", "failure", {"api__url": "http://atalaia.acme.org"}, "api.url"),
        ("public addresses", "failure", {"livekit__public_url": "ws://l"}, "livekit.public_url"),
        ("secrets", "failure", {"livekit__api_secret": "short"}, "livekit.api_secret is short"),
        ("secrets", "failure", {"livekit__api_secret": ""}, "livekit.api_secret is missing"),
        ("secrets", "failure", {"audit__secret": "abcd" * 10}, "audit.secret is a pattern"),
        ("secrets", "failure", {"redis__url": "rediss://redis:6379/0"}, "redis.url is missing"),
        ("secrets", "failure", {"auth__keys": [secret("a"), "x"]}, "auth.keys.1 is short"),
        ("reuse", "failure", {"qdrant__api_key": secret("audit")}, "qdrant.api_key = audit.secret"),
        ("own secrets", "warning", {"gateway__secret": None}, "gateway.secret"),
        ("started here", "warning", {"ray__address": None}, "ray"),
        ("started here", "warning", {"livekit__managed": True}, "livekit"),
        ("blobs", "warning", {"blobs__url": "file:///srv"}, "folder"),
        ("plain connections", "warning", {"qdrant__url": "http://qdrant"}, "qdrant.url"),
        ("rights", "warning", {"database__tenant_url": None}, "database.tenant_url"),
        ("rights", "warning", {"redis__passwords": {}}, "redis.passwords"),
        ("trusted proxies", "failure", {"api__trusted_proxies": ["10.0.0.0/8"]}, "10.0.0.0/8"),
        ("trusted proxies", "warning", {"api__trusted_proxies": []}, "one address"),
        ("cameras' addresses", "warning", {"gateway__deny": []}, "denied"),
        ("log", "warning", {"log__format": "console"}, "console"),
        ("metrics", "warning", {"api__metrics": {"public": True}}, "everybody"),
    ],
)
def test_what_is_found(name: str, level: str, changes: dict[str, Any], says: str) -> None:
    found = findings(**changes)
    assert found[name].level == level
    assert says in found[name].detail
    assert found[name].remedy
    others = {f.name for f in found.values() if f.level is not Level.OK} - {name}
    assert others <= {"public addresses"}, "one cause, one finding"


def test_plain_databases_and_rays_without_token() -> None:
    url = f"postgresql+psycopg://a:{secret('db')}@db/a"
    assert "database.url" in findings(database__url=url)["plain connections"].detail
    for missing in ({"RAY_AUTH_MODE": ""}, {"RAY_AUTH_TOKEN": ""}):
        assert findings(missing)["ray token"].level is Level.FAILURE


def test_logins_of_one_database_may_be_one() -> None:
    url = GOOD["database"]["url"]
    assert findings(database__migration_url=url)["reuse"].level is Level.OK


def test_no_finding_shows_a_secret(tmp_path: Path) -> None:
    tree: dict[str, Any] = {**GOOD, "data_dir": tmp_path}
    tree["qdrant"] = {"url": "http://qdrant", "api_key": secret("audit")}
    tree["audit"] = {"secret": secret("audit")}
    settings = Settings(**tree)
    planted = secrets_of(settings)
    assert len(planted) >= 16
    text = " ".join(f"{f.detail} {f.remedy}" for f in examine_production(settings, {}))
    assert "qdrant.api_key = audit.secret" in text
    assert not [name for name, value in planted.items() if value and value in text]
