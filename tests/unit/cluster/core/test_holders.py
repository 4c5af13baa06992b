"""Credentials as texts."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.holders import Credential, CredentialKind

SLUGS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)
IDS = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=40)


@given(st.none() | SLUGS, st.sampled_from(CredentialKind), IDS)
def test_a_text_names_the_credential_that_it_was_made_of(
    tenant: str | None, kind: CredentialKind, id: str
) -> None:
    credential = Credential(tenant, kind, id)
    assert Credential.parse(str(credential)) == credential


def test_as_text() -> None:
    assert str(Credential("acme", CredentialKind.KEY, "3kd82hs9")) == "acme/key:3kd82hs9"
    assert str(Credential(None, CredentialKind.SESSION, "s-1")) == "/session:s-1"


@pytest.mark.parametrize(
    "text",
    ["", "acme", "acme/key", "acme/key:", "acme/door:1", "a/b/key:1", "acme/key:1 2", "A/key:1"],
)
def test_what_names_none(text: str) -> None:
    with pytest.raises(ValueError, match="no credential"):
        Credential.parse(text)
