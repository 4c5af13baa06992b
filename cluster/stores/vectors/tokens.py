"""Tokens for a Qdrant server that checks them (`service.jwt_rbac`).

A token allows reading and writing in one collection: not making or removing collections, no
snapshots, nothing of the server itself. It cannot be for one tenant: Qdrant 1.16 removed the claim
that restricted a token to points with some payload, and refuses tokens that still have it.
"""

from __future__ import annotations

import jwt
from pydantic import SecretStr

from pipelines.clock import Clock

# Signed anew at half of it, so that a request has half a minute on its way. The server lets clocks
# differ by another half.
LIFE_S = 60


class CollectionTokens:
    """Gives the token of now.

    Args:
        api_key: the server's; signs (HS256) and is sent to nobody.
        collection: to which the tokens are restricted.
        clock: when they expire.
    """

    def __init__(self, api_key: SecretStr, collection: str, clock: Clock) -> None:
        self._api_key = api_key
        self._collection = collection
        self._clock = clock
        self._token = ""
        self._renewed_s = 0.0

    def __call__(self) -> str:
        now_s = self._clock.monotonic()
        if not self._token or now_s - self._renewed_s >= LIFE_S / 2:
            self._token, self._renewed_s = self._signed(), now_s
        return self._token

    def _signed(self) -> str:
        claims = {
            "exp": self._clock.now_us() // 1_000_000 + LIFE_S,
            "access": [{"collection": self._collection, "access": "rw"}],
        }
        return jwt.encode(claims, self._api_key.get_secret_value(), algorithm="HS256")
