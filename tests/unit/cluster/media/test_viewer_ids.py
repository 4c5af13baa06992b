"""Identities of viewers tell us who joined, and nobody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.core.holders import Credential, CredentialKind, Holder
from cluster.media.viewer_ids import ViewerIds, is_viewer

IDS = ViewerIds(SecretStr("s" * 32))
ANA = Holder(Credential("acme", CredentialKind.SESSION, "x" * 22), "operator")
# What LiveKit takes by default (`limit.max_participant_identity_length`).
LONGEST = 256


def test_who_joined_comes_out() -> None:
    identity = IDS.new(ANA)
    assert is_viewer(identity)
    assert IDS.read(identity) == ANA


def test_each_is_new_and_tells_others_nothing() -> None:
    first, second = IDS.new(ANA), IDS.new(ANA)
    assert first != second
    assert "acme" not in first
    assert ANA.credential.id not in first
    assert ViewerIds(SecretStr("t" * 32)).read(first) is None


def test_the_longest_fits() -> None:
    holder = Holder(Credential("t" * 40, CredentialKind.SESSION, "i" * 40), "operator")
    assert len(IDS.new(holder)) <= LONGEST


@given(st.text(max_size=300))
def test_nobody_else_makes_one(text: str) -> None:
    assert IDS.read(text) is None
    assert IDS.read(f"viewer-{text}") is None


def test_one_that_was_changed_is_nobody_s() -> None:
    identity = IDS.new(ANA)
    other = "A" if identity[20] != "A" else "B"
    assert IDS.read(identity[:20] + other + identity[21:]) is None


def test_cameras_and_agents_do_not_watch() -> None:
    assert not is_viewer("camera")
    assert not is_viewer("watcher")
