"""Secrets of the local servers: generated once per data folder, never defaulted or printed."""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import SecretStr

from cluster.core.settings import Settings
from cluster.local.files import ensure_private_dir, write_private
from pipelines.errors import ConfigError

# LiveKit rejects fewer than 32 characters (its tokens use HMAC-SHA256); 32 bytes encode to 43.
SECRET_BYTES = 32
MIN_SECRET_CHARS = 32
"""LiveKit's minimum."""


def livekit_secret_path(settings: Settings) -> Path:
    return settings.run_dir / "livekit.secret"


def with_secrets(settings: Settings) -> Settings:
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
