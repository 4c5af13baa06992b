"""The content security policy that the page is served with."""

from __future__ import annotations

import pytest

from pipelines.errors import ConfigError
from serve.dashboard import DOCS_POLICY, content_security_policy


def _directives(livekit_url: str) -> dict[str, list[str]]:
    return _parsed(content_security_policy(livekit_url))


def _parsed(policy: str) -> dict[str, list[str]]:
    return {part.split()[0]: part.split()[1:] for part in policy.split("; ")}


@pytest.mark.parametrize(
    ("url", "socket", "http"),
    [
        ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880", "http://127.0.0.1:7880"),
        ("wss://lk.example.org", "wss://lk.example.org", "https://lk.example.org"),
        ("https://lk.example.org/path", "wss://lk.example.org", "https://lk.example.org"),
    ],
)
def test_only_livekit_may_be_reached_beside_our_own_origin(
    url: str, socket: str, http: str
) -> None:
    assert _directives(url)["connect-src"] == ["'self'", socket, http]


def test_nothing_inline_and_nothing_foreign() -> None:
    directives = _directives("ws://127.0.0.1:7880")
    assert directives["default-src"] == ["'none'"]
    for name in ("script-src", "style-src", "worker-src"):
        assert directives[name] == ["'self'"]
    assert "unsafe" not in str(directives)


def test_clips_come_from_our_own_origin() -> None:
    assert _directives("ws://127.0.0.1:7880")["media-src"] == ["'self'", "blob:"]


def test_the_documents_live_by_the_same_rules_but_reach_no_livekit() -> None:
    docs, page = _parsed(DOCS_POLICY), _directives("ws://127.0.0.1:7880")
    for name in ("default-src", "script-src", "style-src", "base-uri", "frame-ancestors"):
        assert docs[name] == page[name]
    assert docs["connect-src"] == ["'self'"]
    assert docs["img-src"] == ["'self'", "data:"]
    assert "media-src" not in docs


@pytest.mark.parametrize("url", ["", "lk.example.org", "file:///x", "ws://", "ws://user:pw@host"])
def test_an_address_that_is_no_livekit_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="public_url"):
        content_security_policy(url)
