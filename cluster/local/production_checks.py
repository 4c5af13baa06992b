"""What `atalaia doctor --production` adds: settings that work, but not for a cluster in use.

It reads settings and environment only, and asks no server. No finding shows a secret.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from cluster.core.settings import Settings
from cluster.local.doctor import Finding, Level

# What HMAC-SHA256 and LiveKit want; a password is slower to try, as it takes a server.
SECRET_LENGTH, PASSWORD_LENGTH = 32, 16
# Fewer different characters than this are a pattern: random hexadecimal has 16 of them, of which
# 32 random ones hold 14 on average.
DISTINCT = 8
# More addresses than a proxy has: a network of pods or of clients.
PROXY_ADDRESSES = 256
_KEYS = (
    "livekit.api_secret", "gateway.secret", "database.encryption_key", "api.media_secret",
    "audit.secret", "auth.keys",
)  # fmt: skip
_URLS = ("redis.url", "database.url", "database.tenant_url", "database.migration_url")
_MAKE = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def examine_production(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """All checks, each with one finding at least."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _examples, _public, _weak, _reused, _missing, _machine, _blobs, _transport, _rights,
        _proxies, _networks, _log, _metrics,
    )  # fmt: skip
    return [finding for check in checks for finding in check(settings)] + [_ray(environment)]


def _result(name: str, level: Level, problems: Sequence[str], remedy: str, good: str) -> Finding:
    if not problems:
        return Finding(name, Level.OK, good)
    return Finding(name, level, "; ".join(problems), remedy)


def _examples(settings: Settings) -> Iterator[Finding]:
    places = {
        "livekit.public_url": settings.livekit.browser_url,
        "api.url": settings.api_url,
        "blobs.url": settings.blob_url,
    }
    left = [name for name, url in places.items() if "example.com" in url]
    yield _result("examples", Level.FAILURE, left, "Set your own addresses.", "no example is left")


def _public(settings: Settings) -> Iterator[Finding]:
    """Browsers give cameras, cookies and keys to these addresses."""
    plain = [
        name
        for name, url, scheme in (
            ("api.url", settings.api_url, "https"),
            ("livekit.public_url", settings.livekit.browser_url, "wss"),
        )
        if urlsplit(url).scheme != scheme
    ]
    remedy = "Put a TLS proxy in front, and name its https:// and wss:// addresses."
    yield _result("public addresses", Level.FAILURE, plain, remedy, "with TLS")


def secrets_of(settings: Settings) -> dict[str, str]:
    """Every secret of the settings by its name; of URLs their passwords, empty where there is none.
    A list has its items numbered."""
    found: dict[str, str] = {}
    for name, value in _walk(settings, ""):
        text = value.get_secret_value()
        found[name] = unquote(urlsplit(text).password or "") if name in _URLS else text
    return found


def _walk(section: object, path: str) -> Iterator[tuple[str, SecretStr]]:
    if isinstance(section, SecretStr):
        yield path, section
    elif isinstance(section, BaseModel):
        for name in type(section).model_fields:
            yield from _walk(getattr(section, name), f"{path}.{name}" if path else name)
    elif isinstance(section, Mapping):
        for name, value in section.items():
            yield from _walk(value, f"{path}.{name}")
    elif isinstance(section, tuple):
        for number, value in enumerate(section):
            yield from _walk(value, f"{path}.{number}")


def _weak(settings: Settings) -> Iterator[Finding]:
    weak = []
    for name, secret in secrets_of(settings).items():
        key = name.startswith(_KEYS) or "secret" in name or "decryption" in name
        if len(secret) < (SECRET_LENGTH if key else PASSWORD_LENGTH):
            weak.append(f"{name} is missing or short" if not secret else f"{name} is short")
        elif len(set(secret)) < DISTINCT:
            weak.append(f"{name} is a pattern")
    yield _result("secrets", Level.FAILURE, weak, _MAKE, "long enough")


def _reused(settings: Settings) -> Iterator[Finding]:
    """One that leaks opens nothing else. The logins of one server may be one: `_rights` says so."""
    uses: defaultdict[str, list[str]] = defaultdict(list)
    for name, secret in secrets_of(settings).items():
        if secret:
            uses[secret].append(name)
    reused = [
        " = ".join(names)
        for names in uses.values()
        if len(names) > 1 and not all(name.startswith("database.") for name in names)
    ]
    yield _result("reuse", Level.FAILURE, reused, f"Each its own. {_MAKE}", "each has its own use")


def _missing(settings: Settings) -> Iterator[Finding]:
    optional = {
        "gateway.secret": settings.gateway.secret,
        "api.media_secret": settings.api.media_secret,
        "audit.secret": settings.audit.secret,
        "auth.keys": settings.auth.keys,
    }
    derived = [name for name, value in optional.items() if not value]
    remedy = f"They come from livekit.api_secret, which LiveKit's servers know as well. {_MAKE}"
    yield _result("own secrets", Level.WARNING, derived, remedy, "none is derived from LiveKit's")


def _machine(settings: Settings) -> Iterator[Finding]:
    here = {
        "livekit": settings.livekit.managed,
        "gateway": settings.gateway.managed,
        "redis": settings.redis.url is None,
        "database": settings.database.url is None,
        "qdrant": settings.qdrant.url is None,
        "ray": settings.ray.address is None,
    }
    started = [name for name, managed in here.items() if managed]
    remedy = "Good for one machine. For a cluster name servers, as configs/production.yaml does."
    yield _result("started here", Level.WARNING, started, remedy, "nothing")


def _blobs(settings: Settings) -> Iterator[Finding]:
    local = ["a folder"] if settings.blob_url.startswith("file:") else []
    remedy = "With several nodes set blobs.url to an object store that all of them reach."
    yield _result("blobs", Level.WARNING, local, remedy, "an object store")


def _transport(settings: Settings) -> Iterator[Finding]:
    urls = {
        "redis.url": settings.redis.url,
        "database.url": settings.database.url,
        "qdrant.url": settings.qdrant.url,
    }
    plain = []
    for name, url in urls.items():
        text = url.get_secret_value() if isinstance(url, SecretStr) else url
        if text is not None and not _protected(text):
            plain.append(name)
    remedy = "Use rediss://, https:// and sslmode=verify-full, unless the network encrypts."
    yield _result("plain connections", Level.WARNING, plain, remedy, "none")


def _protected(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme.startswith("postgresql"):
        return "sslmode=verify" in parts.query or "sslmode=require" in parts.query
    return parts.scheme in ("rediss", "https", "unix")


def _rights(settings: Settings) -> Iterator[Finding]:
    wide = []
    if settings.database.url is not None and settings.database.tenant_url is None:
        wide.append("database.tenant_url is not set: one login acts for all tenants")
    if settings.redis.url is not None and not settings.redis.passwords:
        wide.append("redis.passwords is not set: every process may do everything")
    if settings.qdrant.url is not None and settings.qdrant.api_key is None:
        wide.append("qdrant.api_key is not set: whoever reaches it may do everything")
    remedy = "docs/operations.md: roles of the database, users of Redis, memory of objects."
    yield _result("rights", Level.WARNING, wide, remedy, "each process has what it needs")


def _proxies(settings: Settings) -> Iterator[Finding]:
    proxies = settings.api.trusted_proxies
    wide = [str(network) for network in proxies if network.num_addresses > PROXY_ADDRESSES]
    if wide:
        remedy = "Name the proxies' own addresses: others in there choose theirs as they like."
        yield Finding("trusted proxies", Level.FAILURE, f"wide: {', '.join(wide)}", remedy)
        return
    none = [] if proxies else ["none: all callers behind a proxy count as one address"]
    remedy = "Name the TLS proxy's address in api.trusted_proxies, such as 10.0.3.7/32."
    yield _result("trusted proxies", Level.WARNING, none, remedy, f"{len(proxies)}")


def _networks(settings: Settings) -> Iterator[Finding]:
    none = [] if settings.gateway.deny else ["nothing is denied"]
    remedy = "Name the networks of nodes, pods and servers in gateway.deny."
    yield _result("cameras' addresses", Level.WARNING, none, remedy, "your networks are denied")


def _log(settings: Settings) -> Iterator[Finding]:
    other = [] if settings.log.format == "json" else [settings.log.format]
    yield _result("log", Level.WARNING, other, "Set log.format to json.", "json")


def _metrics(settings: Settings) -> Iterator[Finding]:
    public = ["the API's own port answers GET /metrics to everybody"] * settings.api.metrics.public
    remedy = "Set api.metrics.public to false; Prometheus reads api.metrics.port of each replica."
    yield _result("metrics", Level.WARNING, public, remedy, "on a port of their own")


def _ray(environment: Mapping[str, str]) -> Finding:
    if environment.get("RAY_AUTH_MODE") == "token" and environment.get("RAY_AUTH_TOKEN"):
        return Finding("ray token", Level.OK, "asked for")
    return Finding(
        "ray token",
        Level.FAILURE,
        "whoever reaches Ray's ports can run code",
        "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, the same on every node.",
    )
