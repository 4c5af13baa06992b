"""Clients of Redis or Valkey, and their errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cluster.core.aio import keep_cancellation
from pipelines.errors import ConfigError, UnavailableError

# A healthy command takes well under a millisecond on loopback; a fail-over of Sentinel some
# seconds, which callers bridge by their own back-off. Longer than any BLOCK of ours.
COMMAND_TIMEOUT_S = 5.0
MAX_BLOCK_MS = 3_000

SENTINEL_SCHEME = "redis+sentinel"
_HINT = "Use redis://host:6379/0, rediss://… or redis+sentinel://host:26379,host:26379/master/0."


def open_redis(url: str, *, timeout_s: float = COMMAND_TIMEOUT_S, retries: int = 1) -> Redis:
    """A client for `url`. Connects to nothing yet; belongs to the loop that first uses it.

    Args:
        url: redis://, rediss://, unix:// or redis+sentinel:// (several hosts, then the master's
            name, then the database).
        timeout_s: for connecting, and for each reply.
        retries: at once, for a pooled connection that died while it lay idle.

    Raises:
        ConfigError: the URL cannot be used; never shows a password.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), retries),
        "health_check_interval": 15,
    }
    try:
        if urlsplit(url).scheme == SENTINEL_SCHEME:
            return _open_by_sentinel(url, options)
        return Redis.from_url(url, **options)
    except ValueError:
        raise ConfigError("redis.url cannot be used.", hint=_HINT) from None


def _open_by_sentinel(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    master, _, database = parts.path.strip("/").partition("/")
    if not hosts or not master:
        raise ValueError("no hosts or no master")
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.partition(":")
        sentinels.append((name, int(port or 26379)))
    sentinel = Sentinel(sentinels, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        master,
        username=unquote(user) or None,
        password=unquote(password) or None,
        db=int(database or 0),
        **options,
    )
    return client


@contextmanager
def redis_errors() -> Iterator[None]:
    """Raise UnavailableError in place of whatever Redis or the way to it raises.

    All of it is worth trying again: a read-only replica, a full memory or a wrong password are
    repaired outside, and an alarm must wait for that rather than be dropped.
    """
    try:
        with keep_cancellation():
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise UnavailableError(f"Redis cannot be used: {type(error).__name__}: {error}.") from error
