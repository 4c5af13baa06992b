"""Who may do what in Redis: every key is somebody's, and no file lets anybody in by accident."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr, ValidationError

from cluster.core.settings import RedisSettings, Settings
from cluster.stores.bus import keys
from cluster.stores.bus.access import ACCESS, PROCESSES, acl_file
from cluster.stores.bus.keys import KeyPattern
from pipelines.errors import ConfigError

# Of every function that makes a key.
EXAMPLES = {
    "MODEL_KEY": [keys.MODEL_KEY],
    "LEASE_KEY": [keys.LEASE_KEY],
    "alarms_key": [keys.alarms_key("acme")],
    "alarm_marker_key": [keys.alarm_marker_key("acme", UUID(int=1))],
    "settled_key": [keys.settled_key("acme")],
    "tracks_key": [keys.tracks_key("acme")],
    "cameras_key": [keys.cameras_key("acme")],
    "rate_key": [keys.rate_key("acme", "requests"), keys.rate_key(None, "detect")],
    "dead_key": [keys.dead_key(keys.alarms_key("a")), keys.dead_key(keys.tracks_key("a"))],
}
PASSWORDS = {process: SecretStr(f"password-of-{process}") for process in PROCESSES}


def _matches(pattern: str, key: str) -> bool:
    """As Redis matches: a star is any text; braces are themselves."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), key) is not None


def test_every_key_is_of_one_pattern_and_somebodys() -> None:
    makers = {name for name in vars(keys) if name.lower().endswith("_key") and name[0] != "_"}
    assert makers == set(EXAMPLES), "name the new key's pattern, and who uses it"
    used = {
        pattern
        for rules in ACCESS.values()
        for rule in rules
        for pattern in (*rule.keys, *rule.read_only)
    }
    assert used == set(KeyPattern)
    for examples in EXAMPLES.values():
        for key in examples:
            assert len([p for p in KeyPattern if _matches(p, key)]) == 1, key


def test_each_kind_of_process_has_its_user() -> None:
    assert set(ACCESS) == set(PROCESSES)
    lines = acl_file("redis://:root@host/0", PASSWORDS).splitlines()
    assert [line.split()[1] for line in lines] == [
        "default", *(f"atalaia-{process}" for process in PROCESSES)
    ]  # fmt: skip
    for process, line in zip(PROCESSES, lines[1:], strict=True):
        digest = hashlib.sha256(f"password-of-{process}".encode()).hexdigest()
        assert line.split()[2:7] == ["on", f"#{digest}", "resetkeys", "resetchannels", "-@all"]
        assert "password-of" not in line
        assert "+@" not in line
        assert "allkeys" not in line
        assert "nopass" not in line


@pytest.mark.parametrize(
    ("url", "on"),
    [
        ("redis://:p%40ss@host/0", True),
        ("redis://default:p%40ss@host/0", True),
        ("redis://host/0", False),
        ("redis://livekit:p%40ss@host/0", False),
        ("redis+sentinel://:p%40ss@a:1,b:2/main/0", True),
    ],
)
def test_the_default_user_needs_the_password_or_is_off(url: str, on: bool) -> None:
    first = acl_file(url, PASSWORDS).splitlines()[0]
    digest = hashlib.sha256(b"p@ss").hexdigest()
    expected = f"on #{digest} ~* &* +@all" if on else "off resetpass resetkeys resetchannels -@all"
    assert first == f"user default {expected}"


def test_a_file_that_leaves_somebody_out_is_refused() -> None:
    some = {process: PASSWORDS[process] for process in PROCESSES if process != "bridge"}
    with pytest.raises(ConfigError, match="bridge"):
        acl_file("redis://:root@host/0", some)


@pytest.mark.parametrize(
    ("url", "signed_in"),
    [
        ("redis://:root@host:6379/0", "redis://atalaia-api:p%40%2F%3A-and-long-enough@host:6379/0"),
        ("rediss://host/1", "rediss://atalaia-api:p%40%2F%3A-and-long-enough@host/1"),
        (
            "redis+sentinel://u:p@a:1,b:2/main/0",
            "redis+sentinel://atalaia-api:p%40%2F%3A-and-long-enough@a:1,b:2/main/0",
        ),
        ("unix:///run/redis.sock", "unix://atalaia-api:p%40%2F%3A-and-long-enough@/run/redis.sock"),
    ],
)
def test_a_process_signs_in_as_its_user(url: str, signed_in: str) -> None:
    redis = RedisSettings(url=url, passwords={"api": "p@/:-and-long-enough"})  # type: ignore[arg-type,dict-item]
    settings = Settings(redis=redis)
    assert settings.redis_url_of("api") == signed_in
    assert settings.redis_url_of("bridge") == url


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"url": "redis://host/0", "passwords": {"api": "short"}}, "at least 16"),
        ({"url": "redis://host/0", "passwords": {"cook": "long enough, this one"}}, "api"),
        ({"passwords": {"api": "long enough, this one"}}, "no users"),
    ],
)
def test_passwords_that_cannot_be_meant_are_refused(settings: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        RedisSettings(**settings)
