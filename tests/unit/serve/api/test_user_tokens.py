"""Tokens of users: a ring of keys, of which the first signs and all verify."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from pydantic import SecretStr

from cluster.core.settings import AuthSettings, LiveKitSettings, Settings
from pipelines.clock import ManualClock
from pipelines.errors import ConfigError
from serve.api.user_tokens import Audience, TokenKeys, UserToken, is_over, token_digest

OLD, NEW, LIVEKIT = (SecretStr(letter * 40) for letter in "onl")
TOKEN = UserToken("acme", "abcdefghijkl", "s-1", "program", 2_000_000_000, 3)


def settings(*keys: SecretStr) -> Settings:
    return Settings(auth=AuthSettings(keys=keys), livekit=LiveKitSettings(api_secret=LIVEKIT))


@pytest.mark.parametrize("audience", Audience)
def test_what_is_signed_is_read_and_by_its_own_audience_only(audience: Audience) -> None:
    keys = TokenKeys([NEW])
    text = keys.sign(audience, TOKEN)
    assert keys.read(audience, text) == TOKEN
    others = {other: keys.read(other, text) for other in Audience if other is not audience}
    assert set(others.values()) == {None}


def test_a_former_key_verifies_and_signs_no_more() -> None:
    before = TokenKeys([OLD]).sign(Audience.ACCESS, TOKEN)
    ring = TokenKeys([NEW, OLD])
    assert ring.read(Audience.ACCESS, before) == TOKEN
    after = ring.sign(Audience.ACCESS, TOKEN)
    assert TokenKeys([NEW]).read(Audience.ACCESS, after) == TOKEN
    assert TokenKeys([OLD]).read(Audience.ACCESS, after) is None
    assert TokenKeys([NEW]).read(Audience.ACCESS, before) is None


def test_no_two_tokens_are_the_same() -> None:
    keys = TokenKeys([NEW])
    assert len({token_digest(keys.sign(Audience.REFRESH, TOKEN)) for _ in range(20)}) == 20


def test_the_secret_itself_signs_nothing() -> None:
    """It may be LiveKit's, with which rooms are signed."""
    header = jwt.get_unverified_header(TokenKeys([NEW]).sign(Audience.ACCESS, TOKEN))
    claims = {
        "aud": "atalaia-access", "exp": 2_000_000_000, "tenant": "acme", "sub": "u", "sid": "s",
        "client": "program", "gen": 0,
    }  # fmt: skip
    forged = jwt.encode(claims, NEW.get_secret_value(), "HS256", {"kid": header["kid"]})
    assert TokenKeys([NEW]).read(Audience.ACCESS, forged) is None


def _changed(text: str, **claims: object) -> str:
    head, body, signature = text.split(".")
    whole = json.loads(base64.urlsafe_b64decode(body + "==")) | claims
    packed = base64.urlsafe_b64encode(json.dumps(whole).encode()).decode().rstrip("=")
    return f"{head}.{packed}.{signature}"


def test_nothing_of_a_token_can_be_changed() -> None:
    keys = TokenKeys([NEW])
    text = keys.sign(Audience.ACCESS, TOKEN)
    for other in (
        _changed(text, tenant="globex"),
        _changed(text, exp=3_000_000_000),
        text[:-4] + "AAAA",
        jwt.encode({"aud": "atalaia-access"}, "", "none", {"kid": "x"}),
        "",
        "a.b.c",
        "atk_abcdefgh_" + "x" * 43,
    ):
        assert keys.read(Audience.ACCESS, other) is None


def test_the_settings_give_the_ring_or_else_livekits_secret() -> None:
    text = TokenKeys.of(settings()).sign(Audience.ACCESS, TOKEN)
    assert TokenKeys([LIVEKIT]).read(Audience.ACCESS, text) == TOKEN
    text = TokenKeys.of(settings(NEW, OLD)).sign(Audience.ACCESS, TOKEN)
    assert TokenKeys([NEW]).read(Audience.ACCESS, text) == TOKEN


def test_a_short_secret_is_refused() -> None:
    for ring in ((SecretStr("short"),), (NEW, SecretStr("x" * 31))):
        with pytest.raises(ConfigError, match="32"):
            TokenKeys.of(settings(*ring))


def test_a_token_is_over_at_its_second() -> None:
    clock = ManualClock()
    token = UserToken("acme", "u", "s", "browser", clock.now_us() // 1_000_000 + 10)
    clock.advance(9)
    assert not is_over(token, clock)
    clock.advance(1)
    assert is_over(token, clock)
