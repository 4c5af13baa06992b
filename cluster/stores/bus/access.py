"""What each kind of process may do in Redis, and the access list file for the server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from cluster.core.settings import RedisProcess, redis_user
from cluster.stores.bus.keys import KeyPattern
from pipelines.errors import ConfigError

PROCESSES: tuple[RedisProcess, ...] = get_args(RedisProcess)

_CONNECTION = ("ping", "select", "client|setinfo", "client|setname")
# A script may do what its caller may: the commands that it runs are checked, too.
_SCRIPTS = ("evalsha", "script|load")
_TRANSACTION = ("multi", "exec", "discard")


@dataclass(frozen=True, slots=True)
class Rule:
    """Commands, and the keys on which they may be used."""

    commands: tuple[str, ...]
    keys: tuple[KeyPattern, ...] = ()
    read_only: tuple[KeyPattern, ...] = ()

    def __str__(self) -> str:
        return " ".join(
            [
                *(f"+{command}" for command in self.commands),
                *(f"~{pattern}" for pattern in self.keys),
                *(f"%R~{pattern}" for pattern in self.read_only),
            ]
        )


# All keys of tenants: what an erasure of one removes.
_OF_TENANTS = tuple(p for p in KeyPattern if p not in (KeyPattern.MODEL, KeyPattern.LEASE))
_STREAMS = (KeyPattern.ALARMS, KeyPattern.TRACKS, KeyPattern.DEAD_LETTERS)

# The script that publishes an alarm has both keys; SET, which would replace a stream, only markers.
_PUBLISHING = (
    Rule(
        (*_CONNECTION, *_SCRIPTS, "exists", "xlen", "xadd"),
        (KeyPattern.ALARMS, KeyPattern.ALARM_MARKERS, KeyPattern.TRACKS),
    ),
    Rule(("set",), (KeyPattern.ALARM_MARKERS,)),
)
ACCESS: Mapping[RedisProcess, tuple[Rule, ...]] = {
    # Follows alarms, shows cameras, counts rates, chooses the model.
    "api": (
        Rule(
            (*_CONNECTION, "xread", "xinfo|stream", "hgetall"),
            read_only=(KeyPattern.ALARMS, KeyPattern.CAMERAS),
        ),
        Rule((*_SCRIPTS, "hgetall", "hdel", "hincrby", "pexpire"), (KeyPattern.RATES,)),
        Rule(("get", "set", "del"), (KeyPattern.MODEL,)),
    ),
    # Publishes alarms and track updates. INFO: whether Redis was restarted.
    "agent": (*_PUBLISHING, Rule(("info",))),
    # Asks how long alarms have waited; it has no command that writes.
    "bridge": (
        Rule(
            (*_CONNECTION, *_SCRIPTS, "exists", "xinfo|groups", "xpending", "xrange", "time"),
            (KeyPattern.ALARMS,),
        ),
    ),
    # Holds the controllers' lease, writes the cameras' states and reads those of their recordings,
    # publishes system alarms and what hosts left in their spools, and erases (`TenantEraser`):
    # entries about objects, and all keys of a tenant, which it has to find.
    "controller": (
        *_PUBLISHING,
        Rule(("info",)),
        Rule((*_TRANSACTION, "del", "hset", "hgetall", "expire"), (KeyPattern.CAMERAS,)),
        Rule(("xrange", "xdel"), _STREAMS),
        Rule(("unlink",), _OF_TENANTS),
        Rule((*_SCRIPTS, "hmget", "hset", "time"), (KeyPattern.LEASE,)),
        Rule(("scan",)),
    ),
    "detector": (Rule((*_CONNECTION, "get"), read_only=(KeyPattern.MODEL,)),),
    # Consumes both streams, and marks up to where alarms are kept.
    "listener": (
        Rule(
            (
                *(*_CONNECTION, *_SCRIPTS, *_TRANSACTION),
                *("xgroup|create", "xreadgroup", "xautoclaim", "xack"),
                *("xlen", "xinfo|groups", "xtrim"),
            ),
            (KeyPattern.ALARMS, KeyPattern.TRACKS),
        ),
        # Scripts have both keys.
        Rule(
            (*_SCRIPTS, "exists", "xinfo|stream", "xpending", "xrange"),
            (KeyPattern.ALARMS, KeyPattern.ALARMS_SETTLED),
        ),
        Rule(("get", "set"), (KeyPattern.ALARMS_SETTLED,)),
        Rule(("xadd",), (KeyPattern.DEAD_LETTERS,)),
    ),
}


def acl_file(url: str, passwords: Mapping[RedisProcess, SecretStr]) -> str:
    """The lines of an `aclfile` of Redis or Valkey: a user for each kind of process, and `default`
    with the password of `url`, or switched off where that has none. It holds hashes of passwords.

    Raises:
        ConfigError: some kind of process has no password.
    """
    missing = [process for process in PROCESSES if process not in passwords]
    if missing:
        raise ConfigError(
            f"redis.passwords has none for {', '.join(missing)}.",
            hint="Give one to each kind of process, each another one.",
        )
    users = [_user(process, passwords[process]) for process in PROCESSES]
    # Without this line the server would let anybody in as `default`, without a password.
    return "\n".join([_default_user(url), *users, ""])


def _default_user(url: str) -> str:
    parts = urlsplit(url)
    if parts.username in (None, "", "default") and parts.password:
        return f"user default on {_hashed(unquote(parts.password))} ~* &* +@all"
    return "user default off resetpass resetkeys resetchannels -@all"


def _user(process: RedisProcess, password: SecretStr) -> str:
    first, *others = ACCESS[process]
    rules = " ".join([str(first), *(f"({rule})" for rule in others)])
    hashed = _hashed(password.get_secret_value())
    return f"user {redis_user(process)} on {hashed} resetkeys resetchannels -@all {rules}"


def _hashed(password: str) -> str:
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"
