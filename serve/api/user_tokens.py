"""Tokens of users: signed, so that a forged one costs no query.

The keys are a ring: the first signs, all verify, and a token names its key (`kid`). So a key can be
replaced without anybody having to sign in again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Self

import jwt
from pydantic import SecretStr

from cluster.core.settings import Settings
from pipelines.clock import Clock
from pipelines.errors import ConfigError

MIN_SECRET_CHARS = 32
_ALGORITHM = "HS256"
# Separates the derived keys from the secrets that they come from.
_PURPOSE = b"atalaia: tokens of users, version 1"

Client = Literal["browser", "program"]


class Audience(StrEnum):
    """What a token is for; one is never taken for the other."""

    ACCESS = "atalaia-access"
    REFRESH = "atalaia-refresh"
    DEVICE = "atalaia-device"
    """Of a browser in which somebody has signed in: `user` is the digest of the account, `session`
    the device's id. It opens nothing."""


@dataclass(frozen=True, slots=True)
class UserToken:
    """What a token says.

    Attributes:
        expires_s: UTC seconds.
        generation: of a refresh token: its number within the session; 0 in access tokens.
    """

    tenant: str
    user: str
    session: str
    client: Client
    expires_s: int
    generation: int = 0


class TokenKeys:
    """Signs tokens and reads them.

    Args:
        ring: secrets that the keys are derived from; the first one signs.
    """

    def __init__(self, ring: Sequence[SecretStr]) -> None:
        derived = [
            hmac.digest(secret.get_secret_value().encode(), _PURPOSE, "sha256") for secret in ring
        ]
        self._keys = {_kid(key): key for key in reversed(derived)}
        self._signer = _kid(derived[0])

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The keys that the settings name. Raises ConfigError: one is too short."""
        ring = settings.auth.keys or (settings.livekit.api_secret,)
        if any(len(secret.get_secret_value()) < MIN_SECRET_CHARS for secret in ring):
            raise ConfigError(
                f"one of auth.keys (or else livekit.api_secret) has fewer than {MIN_SECRET_CHARS} "
                "characters, so users cannot sign in.",
                hint="Set ATALAIA_AUTH__KEYS, a JSON list, the same for every process.",
            )
        return cls(ring)

    def derived(self, purpose: bytes) -> str:
        """Another secret, made of the one that signs."""
        return hmac.digest(self._keys[self._signer], purpose, "sha256").hex()

    def sign(self, audience: Audience, token: UserToken) -> str:
        """The token as text."""
        claims = {
            "aud": audience.value,
            "exp": token.expires_s,
            "tenant": token.tenant,
            "sub": token.user,
            "sid": token.session,
            "client": token.client,
            "gen": token.generation,
            # So that no two tokens are the same.
            "jti": secrets.token_urlsafe(16),
        }
        return jwt.encode(
            claims,
            self._keys[self._signer],
            algorithm=_ALGORITHM,
            headers={"kid": self._signer},
        )

    def read(self, audience: Audience, text: str) -> UserToken | None:
        """What a token of ours says, whether or not it has expired; None: it is not ours."""
        try:
            key = self._keys.get(str(jwt.get_unverified_header(text).get("kid")))
            if key is None:
                return None
            # `exp` is compared by `is_over`, with our clock.
            claims = jwt.decode(
                text,
                key,
                algorithms=[_ALGORITHM],
                audience=audience.value,
                options={
                    "verify_exp": False,
                    "require": ["exp", "aud", "tenant", "sub", "sid", "client", "gen"],
                },
            )
        except jwt.InvalidTokenError:
            return None
        return _token(claims)


def is_over(token: UserToken, clock: Clock) -> bool:
    """Whether the token has expired."""
    return clock.now_us() >= token.expires_s * 1_000_000


def token_digest(text: str) -> str:
    """What is kept of a refresh token."""
    return hashlib.sha256(text.encode()).hexdigest()


def _kid(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]


def _token(claims: dict[str, Any]) -> UserToken:
    return UserToken(
        tenant=claims["tenant"],
        user=claims["sub"],
        session=claims["sid"],
        client=claims["client"],
        expires_s=claims["exp"],
        generation=claims["gen"],
    )
