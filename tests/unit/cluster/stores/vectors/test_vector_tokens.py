from __future__ import annotations

import jwt
from pydantic import SecretStr

from cluster.stores.vectors.tokens import LIFE_S, CollectionTokens
from pipelines.clock import ManualClock

KEY = "the-servers-key-of-32-characters"


def _claims(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(
        token, KEY, algorithms=["HS256"], options={"verify_exp": False}
    )
    return claims


def test_a_token_allows_one_collection_for_a_minute() -> None:
    clock = ManualClock()
    tokens = CollectionTokens(SecretStr(KEY), "atalaia-x-4", clock)
    token = tokens()
    assert _claims(token) == {
        "exp": clock.now_us() // 1_000_000 + 60,
        "access": [{"collection": "atalaia-x-4", "access": "rw"}],
    }
    assert jwt.get_unverified_header(token)["alg"] == "HS256"


def test_it_is_replaced_long_before_it_expires() -> None:
    clock = ManualClock()
    tokens = CollectionTokens(SecretStr(KEY), "atalaia-x-4", clock)
    first = tokens()
    clock.advance(LIFE_S / 2 - 1)
    assert tokens() == first
    clock.advance(1)
    second = tokens()
    assert second != first
    assert _claims(second)["exp"] == clock.now_us() // 1_000_000 + LIFE_S
