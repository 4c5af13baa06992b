"""Links open what they were made for, for as long as they were made for, and nothing else."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from pydantic import SecretStr

from cluster.core.holders import Credential, CredentialKind, Holder
from cluster.core.roles import Role
from cluster.core.settings import ApiSettings, LiveKitSettings, Settings
from cluster.stores.db import Principal
from pipelines.clock import ManualClock
from pipelines.errors import ConfigError
from serve.api.media_links import MediaGrant, MediaLinks, media_secret
from serve.api.problems import ForbiddenError

SECRET = b"s" * 32
NOW_S = 1_790_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_us=NOW_S * 1_000_000)


ANA = Principal("acme", Role.VIEWER, "user:ana", "s-1")


@pytest.fixture
def links(clock: ManualClock) -> MediaLinks:
    return MediaLinks(SECRET, 300, clock)


def token_of(link: str) -> str:
    return link.removeprefix("/media/")


def test_what_was_put_in_comes_out(links: MediaLinks) -> None:
    token = token_of(links.link("acme", "clips/1.mp4", "video/mp4", "acme-gate.mp4", by=ANA))
    assert links.open(token) == MediaGrant(
        "acme",
        "clips/1.mp4",
        "video/mp4",
        "acme-gate.mp4",
        NOW_S + 300,
        "user:ana",
        Holder(Credential("acme", CredentialKind.SESSION, "s-1"), "viewer"),
        made_s=NOW_S,
    )


def test_it_works_for_five_minutes_and_no_second_longer(
    links: MediaLinks, clock: ManualClock
) -> None:
    token = token_of(links.link("acme", "clips/1.mp4", "video/mp4", by=ANA))
    clock.advance(299)
    assert links.seconds_left(links.open(token)) == 1
    clock.advance(1)
    with pytest.raises(ForbiddenError, match="expired") as refused:
        links.open(token)
    assert "GET /v1/alarms/{id}/clip" in refused.value.hint


def test_the_clock_of_this_machine_is_not_asked() -> None:
    clock = ManualClock(now_us=1_000_000)  # 1970
    links = MediaLinks(SECRET, 300, clock)
    assert links.open(token_of(links.link("acme", "a", "video/mp4", by=ANA))).key == "a"


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def tampered(links: MediaLinks) -> dict[str, str]:
    good = token_of(links.link("acme", "clips/1.mp4", "video/mp4", by=ANA))
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    return {
        "another tenant": f"{head}.{part(claims | {'tenant': 'globex'})}.{signature}",
        "another blob": f"{head}.{part(claims | {'key': 'clips/2.mp4'})}.{signature}",
        "a longer life": f"{head}.{part(claims | {'exp': NOW_S * 2})}.{signature}",
        "another session": f"{head}.{part(claims | {'cred': 'acme/session:s-2'})}.{signature}",
        "another role": f"{head}.{part(claims | {'rights': 'admin'})}.{signature}",
        "no signature": f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "another secret": jwt.encode(claims, b"t" * 32, algorithm="HS256"),
        "another algorithm": jwt.encode(claims, SECRET * 2, algorithm="HS512"),
        "another purpose": jwt.encode(claims | {"aud": "atalaia-join"}, SECRET, algorithm="HS256"),
        "a claim too few": jwt.encode(
            {k: v for k, v in claims.items() if k != "tenant"}, SECRET, algorithm="HS256"
        ),
        "one of an earlier version": jwt.encode(
            {k: v for k, v in claims.items() if k not in ("cred", "rights")}, SECRET, "HS256"
        ),
        "cut off": good[:-2],
        "no token": "x",
        "nothing": "",
    }


CHANGES = list(tampered(MediaLinks(SECRET, 300, ManualClock(now_us=NOW_S * 1_000_000))))


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_opens_nothing(links: MediaLinks, change: str) -> None:
    with pytest.raises(ForbiddenError, match="not made here"):
        links.open(tampered(links)[change])


def settings(media: str | None, livekit: str) -> Settings:
    return Settings(
        api=ApiSettings(media_secret=SecretStr(media) if media is not None else None),
        livekit=LiveKitSettings(api_secret=SecretStr(livekit)),
    )


def test_replicas_agree_and_deployments_do_not() -> None:
    assert media_secret(settings(None, "l" * 40)) == media_secret(settings(None, "l" * 40))
    assert media_secret(settings(None, "l" * 40)) != media_secret(settings(None, "m" * 40))
    # What LiveKit's tokens are signed with opens no link, and the other way round.
    assert media_secret(settings(None, "l" * 40)) != b"l" * 40
    assert len(media_secret(settings(None, "l" * 40))) >= 32


def test_a_secret_of_its_own_wins() -> None:
    assert media_secret(settings("m" * 32, "l" * 40)) == b"m" * 32


@pytest.mark.parametrize(
    ("media", "livekit", "said"),
    [("short", "l" * 40, "5 characters"), (None, "", "neither"), ("", "l" * 40, "0 characters")],
)
def test_a_weak_secret_is_refused(media: str | None, livekit: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        media_secret(settings(media, livekit))
