"""Camera authentication: Basic (RFC 7617) and Digest (RFC 2617 and 7616), for RTSP and HTTP.

Pure. Cameras may offer several schemes at once; the strongest supported one is used.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.request import parse_http_list

_STRENGTH = ("SHA-256", "MD5")
MAX_CHALLENGES = 8
"""Headers read per response. Cameras send one or two; this bounds what a hostile one costs."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One authentication challenge from a camera.

    Attributes:
        algorithm: `SHA-256` or `MD5` for Digest, with the suffix `-sess` for the session variant;
            empty for Basic.
    """

    realm: str
    algorithm: str = ""
    nonce: str = ""
    opaque: str | None = None
    qop: bool = False
    stale: bool = False

    @property
    def digest(self) -> bool:
        return bool(self.algorithm)


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The supported challenges, strongest first. Malformed ones are skipped."""
    found: list[Challenge] = []
    for header in list(headers)[:MAX_CHALLENGES]:
        for scheme, fields in _split(header):
            challenge = _parsed(scheme, fields)
            if challenge is not None:
                found.append(challenge)
    return sorted(found, key=_rank)


def _rank(challenge: Challenge) -> int:
    base = challenge.algorithm.removesuffix("-sess")
    return _STRENGTH.index(base) if base in _STRENGTH else len(_STRENGTH)


def _split(header: str) -> list[tuple[str, list[str]]]:
    """Split `Digest a="1", b=2, Basic realm="x"` into schemes and their fields."""
    found: list[tuple[str, list[str]]] = []
    for part in parse_http_list(header):
        head, space, rest = part.partition(" ")
        if space and "=" not in head:
            found.append((head.lower(), [rest.strip()]))
        elif part.lower() in ("basic", "digest"):
            found.append((part.lower(), []))
        elif found and "=" in part:
            found[-1][1].append(part)
    return found


def _parsed(scheme: str, fields: list[str]) -> Challenge | None:
    pairs = (item.partition("=") for item in fields)
    values = {name.strip().lower(): _unquoted(value.strip()) for name, _, value in pairs}
    realm = values.get("realm", "")
    if scheme == "basic":
        return Challenge(realm)
    if scheme != "digest" or "nonce" not in values:
        return None
    algorithm = values.get("algorithm", "MD5").upper().replace("-SESS", "-sess")
    if algorithm.removesuffix("-sess") not in _STRENGTH:
        return None
    offered = [option.strip() for option in values.get("qop", "").split(",") if option.strip()]
    if offered and "auth" not in offered:
        return None
    return Challenge(
        realm=realm,
        algorithm=algorithm,
        nonce=values["nonce"],
        opaque=values.get("opaque"),
        qop=bool(offered),
        stale=values.get("stale", "").lower() == "true",
    )


@dataclass(slots=True)
class Login:
    """Authenticates requests of one user at one camera. Does nothing without a user name.

    Args:
        client_nonce: generates the client nonce for Digest.
    """

    username: str
    password: str = field(repr=False)
    client_nonce: Callable[[], str] = lambda: secrets.token_hex(8)
    _challenge: Challenge | None = None
    _count: int = 0

    @property
    def signed(self) -> bool:
        """Whether requests carry credentials by now."""
        return bool(self.username) and self._challenge is not None

    def accept(self, challenges: list[Challenge]) -> bool:
        """Process the challenges of a 401 response.

        Returns:
            Whether a retry can succeed: there is a user name, and the last attempt carried no
            credentials or used a stale nonce.
        """
        if not self.username or not challenges:
            return False
        before, self._challenge = self._challenge, challenges[0]
        if before is None:
            self._count = 0
            return True
        fresh = challenges[0].digest and challenges[0].nonce != before.nonce
        self._count = 0 if fresh else self._count
        return fresh and challenges[0].stale

    def authorization(self, method: str, uri: str) -> str | None:
        """The value of the `Authorization` header, or None before the first challenge."""
        challenge = self._challenge
        if challenge is None or not self.username:
            return None
        if not challenge.digest:
            pair = f"{self.username}:{self.password}".encode("utf-8", "surrogateescape")
            return "Basic " + base64.b64encode(pair).decode()
        self._count += 1
        return self._digest(challenge, method, uri)

    def _digest(self, challenge: Challenge, method: str, uri: str) -> str:
        def hashed(text: str) -> str:
            name = challenge.algorithm.removesuffix("-sess")
            made = hashlib.new(name.replace("-", ""), usedforsecurity=False)
            made.update(text.encode("utf-8", "surrogateescape"))
            return made.hexdigest()

        client, count = self.client_nonce(), f"{self._count:08x}"
        first = hashed(f"{self.username}:{challenge.realm}:{self.password}")
        if challenge.algorithm.endswith("-sess"):
            first = hashed(f"{first}:{challenge.nonce}:{client}")
        second = hashed(f"{method}:{uri}")
        middle = f"{count}:{client}:auth:" if challenge.qop else ""
        fields = {
            "username": self.username,
            "realm": challenge.realm,
            "nonce": challenge.nonce,
            "uri": uri,
            "response": hashed(f"{first}:{challenge.nonce}:{middle}{second}"),
        }
        if challenge.opaque is not None:
            fields["opaque"] = challenge.opaque
        parts = [f'{name}="{_quoted(value)}"' for name, value in fields.items()]
        # Old cameras do not know `algorithm`; without it, MD5 is the default.
        if challenge.algorithm != "MD5":
            parts.append(f"algorithm={challenge.algorithm}")
        if challenge.qop or challenge.algorithm.endswith("-sess"):
            parts.append(f'cnonce="{client}"')
        if challenge.qop:
            parts += ["qop=auth", f"nc={count}"]
        return "Digest " + ", ".join(parts)


def _unquoted(text: str) -> str:
    """The content of a quoted string (RFC 9110, 5.6.4); a token is returned unchanged."""
    if len(text) < 2 or not text.startswith('"') or not text.endswith('"'):
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
