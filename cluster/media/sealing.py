"""Unguessable stream names, and camera URLs that only the relay can read.

Everything a gateway knows about a camera is visible to anyone with access to the gateway: its
API, its configuration file, its log. It therefore receives sealed texts only: a stream name, and a
relay URL that contains the camera's URL. AES-SIV (RFC 5297) encrypts and authenticates without a
nonce, so the same text always has the same sealed form: names survive a restart, and a source can
be compared with the configured one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from cluster.core.settings import Settings
from pipelines.errors import ConfigError

MIN_SECRET_CHARS = 32
"""As LiveKit requires of its API secret, from which this one is derived by default."""
USERNAME = "atalaia"
"""Default login of a gateway that Atalaia starts itself."""
_KEY_BYTES = 64  # AES-256-SIV takes two keys of 256 bits


class Seal:
    """Seals texts for one purpose; a text sealed for one cannot be opened for another."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._cipher = AESSIV(_derived(secret, purpose, _KEY_BYTES))

    def seal(self, text: str) -> str:
        """Encrypt `text` into URL-safe characters. Deterministic."""
        sealed = self._cipher.encrypt(text.encode("utf-8", "surrogateescape"), None)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, sealed: str) -> str | None:
        """The text, or None if it was not sealed with this key."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), b"-_", validate=True)
            return self._cipher.decrypt(raw, None).decode("utf-8", "surrogateescape")
        except (InvalidTag, ValueError, binascii.Error):
            return None


@dataclass(frozen=True, slots=True)
class GatewayKeys:
    """The secrets shared by Atalaia, its gateway and its relay.

    Attributes:
        names: seals the names of streams on the gateway.
        sources: seals what the relay pulls.
        username, password: for the gateway's API and RTSP server; None if neither is set and the
            gateway is not managed.
    """

    names: Seal = field(repr=False)
    sources: Seal = field(repr=False)
    username: str | None = None
    password: SecretStr | None = None

    @classmethod
    def of(cls, settings: Settings) -> GatewayKeys:
        """The keys from the settings.

        Raises:
            ConfigError: the secret is missing or short, or only half of the login is set.
        """
        secret = gateway_secret(settings)
        username, password = settings.gateway.username, settings.gateway.password
        if (username is None) != (password is None):
            raise ConfigError(
                "gateway.username and gateway.password must be set together.",
                hint="Set both, or neither if Atalaia starts the gateway itself.",
            )
        if settings.gateway.managed and username is None:
            made = _derived(secret, "gateway password", 32).hex()
            username, password = USERNAME, SecretStr(made)
        return cls(Seal(secret, "stream names"), sources_seal(secret), username, password)


def sources_seal(secret: str) -> Seal:
    """The seal shared by cluster and relay. `secret` comes from `gateway_secret`."""
    return Seal(secret, "sources")


def gateway_secret(settings: Settings) -> str:
    """`gateway.secret`, else one derived from `livekit.api_secret`.

    Raises:
        ConfigError: neither is set, or the configured one is too short.
    """
    configured = settings.gateway.secret
    if configured is not None:
        secret = configured.get_secret_value()
        if len(secret) < MIN_SECRET_CHARS:
            raise ConfigError(
                f"gateway.secret has {len(secret)} characters; at least {MIN_SECRET_CHARS} "
                "are needed.",
                hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        return secret
    livekit = settings.livekit.api_secret.get_secret_value()
    if not livekit:
        raise ConfigError(
            "neither gateway.secret nor livekit.api_secret is set, so camera URLs cannot be sealed "
            "for the gateway.",
            hint="Set ATALAIA_GATEWAY__SECRET to at least 32 random characters.",
        )
    return _derived(livekit, "gateway", 32).hex()


def _derived(secret: str, purpose: str, size: int) -> bytes:
    """A key derived by HKDF (RFC 5869) with the purpose as its context."""
    info = f"atalaia {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(secret.encode())
