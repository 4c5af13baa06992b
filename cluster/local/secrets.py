"""Secrets of the local servers: generated once per data folder, never defaulted or printed."""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import SecretStr

from cluster.core.settings import Settings
from cluster.local.files import create_private, ensure_private_dir, write_private
from pipelines.errors import ConfigError

# LiveKit rejects fewer than 32 characters (its tokens use HMAC-SHA256); 32 bytes encode to 43.
SECRET_BYTES = 32
MIN_SECRET_CHARS = 32
"""LiveKit's minimum."""


def livekit_secret_path(settings: Settings) -> Path:
    return settings.run_dir / "livekit.secret"


def database_key_path(settings: Settings) -> Path:
    """Not in `run_dir`, which may be deleted at any time, nor beside the database."""
    return settings.data_dir.resolve() / "keys" / "database.key"


def with_secrets(settings: Settings) -> Settings:
    """`settings` with LiveKit's secret and the database's key filled in.

    Raises:
        ConfigError: as the two below.
    """
    return with_database_key(with_livekit_secret(settings))


def with_livekit_secret(settings: Settings) -> Settings:
    """`settings` with LiveKit's secret filled in.

    A managed server without a configured secret gets a generated one, kept in `run_dir`.

    Raises:
        ConfigError: the secret is too short, or missing for a server that is not managed.
    """
    configured = settings.livekit.api_secret.get_secret_value()
    if configured and len(configured) < MIN_SECRET_CHARS:
        raise ConfigError(
            f"livekit.api_secret has {len(configured)} characters; LiveKit wants at least "
            f"{MIN_SECRET_CHARS}.",
            hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    if configured:
        return settings
    if not settings.livekit.managed:
        raise ConfigError(
            "livekit.api_secret is not set, and the LiveKit server is not managed by Atalaia.",
            hint="Set ATALAIA_LIVEKIT__API_KEY and ATALAIA_LIVEKIT__API_SECRET to the server's.",
        )
    livekit = settings.livekit.model_copy(update={"api_secret": SecretStr(_own_secret(settings))})
    return settings.model_copy(update={"livekit": livekit})


def with_database_key(settings: Settings) -> Settings:
    """`settings` with the key that encrypts secrets in the database filled in.

    The database of one machine gets a generated key. It is kept as long as the database: unlike
    LiveKit's secret it cannot be replaced by another.

    Raises:
        ConfigError: there is no key for a database that the settings name, or the file of the key
            cannot be used.
    """
    if settings.database.encryption_key is not None:
        return settings
    if settings.database.url is not None:
        raise ConfigError(
            "database.encryption_key is not set, and the database is not managed by Atalaia.",
            hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'. Set "
            "ATALAIA_DATABASE__ENCRYPTION_KEY to it, the same for every process, and keep a copy "
            "apart from the database.",
        )
    key = SecretStr(_own_database_key(database_key_path(settings)))
    database = settings.database.model_copy(update={"encryption_key": key})
    return settings.model_copy(update={"database": database})


def _own_database_key(path: Path) -> str:
    try:
        if not path.exists():
            ensure_private_dir(path.parent)
            create_private(path, secrets.token_urlsafe(SECRET_BYTES) + "\n")
        kept = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"cannot use the key in {path}: {error.strerror}.",
            hint="Work as the user that owns it, or set ATALAIA_DATABASE__ENCRYPTION_KEY.",
        ) from None
    if len(kept) < MIN_SECRET_CHARS:
        raise ConfigError(
            f"{path} holds no key.",
            hint="Restore it from a backup: without it, cameras that are stored cannot be read. "
            "If there is none, remove the file, and enter their URLs again.",
        )
    return kept


def _own_secret(settings: Settings) -> str:
    path = livekit_secret_path(settings)
    if path.exists():
        kept = path.read_text(encoding="utf-8").strip()
        if len(kept) >= MIN_SECRET_CHARS:
            return kept
    ensure_private_dir(path.parent)
    made = secrets.token_urlsafe(SECRET_BYTES)
    write_private(path, made + "\n")
    return made
