"""Links to one blob of one tenant that work for some minutes, for whoever has them.

A `<video>` cannot send a key, and a key does not belong into an address. So the API, asked with the
key, gives out a signed address: the tenant, the blob and the key's id stand in the token, and
nothing of them can be changed. A link ends with the key or session that asked for it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import jwt

from cluster.core.holders import Credential, Holder
from cluster.core.settings import Settings
from cluster.stores.db import Principal
from pipelines.clock import Clock
from pipelines.errors import ConfigError
from serve.api.problems import ForbiddenError

MIN_SECRET_CHARS = 32
_ALGORITHM = "HS256"
_AUDIENCE = "atalaia-media"
_CLAIMS = ["exp", "aud", "tenant", "key", "type", "name", "by", "cred", "rights"]
# Makes the derived key another one than the secret that it comes from.
_PURPOSE = b"atalaia: links to media, version 1"


@dataclass(frozen=True, slots=True)
class Shows:
    """What a file shows of persons. Whoever opens a link is checked against the policy of then.

    Attributes:
        camera: whose pictures; empty: that is not known.
        rule: digest of the rule under which persons were hidden; empty: it is an original.
        reveal: id of the reveal under which an original was linked, if one was needed.
        until_s: when that ends, Unix seconds; None: with the link.
    """

    camera: str = ""
    rule: str = ""
    reveal: str = ""
    until_s: int | None = None


SHOWS_NOTHING = Shows()


@dataclass(frozen=True, slots=True)
class MediaGrant:
    """What a link opens.

    Attributes:
        filename: as what a browser saves it; empty where it shows it.
        by: who asked for the link, as records name it.
        holder: the key or session with which the link ends.
        camera: whose file it is, where whoever asked sees some cameras only; else empty.
        made_s: when the link was made, Unix seconds; 0: that is not known.
    """

    tenant: str
    key: str
    media_type: str
    filename: str
    expires_s: int
    by: str
    holder: Holder
    camera: str = ""
    shows: Shows = SHOWS_NOTHING
    made_s: int = 0


def media_secret(settings: Settings) -> bytes:
    """What links are signed with: the same in every replica.

    Raises:
        ConfigError: it is too short, or there is nothing to derive it from.
    """
    configured = settings.api.media_secret
    if configured is not None:
        secret = configured.get_secret_value()
        if len(secret) < MIN_SECRET_CHARS:
            raise ConfigError(
                f"api.media_secret has {len(secret)} characters; at least {MIN_SECRET_CHARS} are "
                "needed.",
                hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        return secret.encode()
    livekit = settings.livekit.api_secret.get_secret_value()
    if not livekit:
        raise ConfigError(
            "neither api.media_secret nor livekit.api_secret is set, so that links to recordings "
            "cannot be signed.",
            hint="Set ATALAIA_LIVEKIT__API_SECRET to the LiveKit server's secret.",
        )
    return hmac.digest(livekit.encode(), _PURPOSE, "sha256")


class MediaLinks:
    """Signs links and reads them.

    Args:
        secret: 32 bytes or more.
        ttl_s: how long a link works.
    """

    def __init__(self, secret: bytes, ttl_s: int, clock: Clock) -> None:
        self._secret = secret
        self._ttl_s = ttl_s
        self._clock = clock

    def link(
        self,
        tenant: str,
        key: str,
        media_type: str,
        filename: str = "",
        *,
        by: Principal,
        camera: str = "",
        shows: Shows = SHOWS_NOTHING,
    ) -> str:
        """Address of a blob, relative to the API, for the one who asks for it. `camera`, `shows`:
        as `MediaGrant`."""
        expires_s = self._now_s() + self._ttl_s
        if shows.until_s is not None:
            expires_s = min(expires_s, shows.until_s)
        claims = {
            "aud": _AUDIENCE,
            "exp": expires_s,
            "iat": self._now_s(),
            "tenant": tenant,
            "key": key,
            "type": media_type,
            "name": filename,
            "by": by.actor,
            "cred": str(by.credential),
            "rights": by.rights,
            "camera": camera,
            "shows": [shows.camera, shows.rule, shows.reveal],
        }
        return f"/media/{jwt.encode(claims, self._secret, algorithm=_ALGORITHM)}"

    def open(self, token: str) -> MediaGrant:
        """What a token opens. Raises ForbiddenError: it is not ours, or it has expired."""
        try:
            # Its `exp` is compared below, with our clock.
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                options={
                    "verify_exp": False,
                    "verify_iat": False,
                    "require": _CLAIMS,
                },
            )
        except jwt.InvalidTokenError:
            raise ForbiddenError(
                "This link was not made here.",
                hint="Ask for a new one: GET /v1/alarms/{id}/clip or GET /v1/recordings.",
            ) from None
        grant = MediaGrant(
            claims["tenant"],
            claims["key"],
            claims["type"],
            claims["name"],
            claims["exp"],
            claims["by"],
            Holder(Credential.parse(claims["cred"]), claims["rights"]),
            claims.get("camera", ""),
            Shows(*claims.get("shows", ())),
            claims.get("iat", 0),
        )
        if self.seconds_left(grant) <= 0:
            raise ForbiddenError(
                "This link has expired.",
                hint="Ask for a new one where you got it: GET /v1/alarms/{id}/clip or "
                "GET /v1/recordings.",
            )
        return grant

    def seconds_left(self, grant: MediaGrant) -> int:
        """How long the grant is still valid; 0 or below: it has expired."""
        return grant.expires_s - self._now_s()

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000
