"""Identity providers in the settings."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cluster.core.oidc_settings import OidcProvider

GOOD = {
    "tenant": "acme",
    "title": "Acme",
    "issuer": "https://login.acme.example/realms/a",
    "client_id": "atalaia",
    "roles": {"guards": "operator"},
}


@pytest.mark.parametrize(
    "issuer",
    [
        "https://login.acme.example",
        "https://login.acme.example/",
        "http://127.0.0.1:8080/realms/a",
        "http://localhost:8080",
        "http://[::1]:8080",
    ],
)
def test_issuers(issuer: str) -> None:
    assert OidcProvider.model_validate(GOOD | {"issuer": issuer}).issuer == issuer


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"issuer": "http://login.acme.example"}, "https"),
        ({"issuer": "http://127.0.0.1.evil.example"}, "https"),
        ({"issuer": "ftp://login.acme.example"}, "https"),
        ({"issuer": "login.acme.example"}, "https"),
        ({"issuer": "https://"}, "https"),
        ({"issuer": "https://me:secret@login.acme.example"}, "credentials"),
        ({"issuer": "https://login.acme.example?x=1"}, "query"),
        ({"roles": {}}, "nobody could sign in"),
        ({"roles": {"bosses": "platform"}}, "roles"),
        ({"default_role": "platform"}, "default_role"),
        ({"tenant": "Not A Slug"}, "tenant"),
        ({"group_claim": "sites"}, "belong together"),
        ({"groups": {"north": "north-wing"}}, "belong together"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        OidcProvider.model_validate(GOOD | changed)


def test_a_default_role_alone_lets_people_in() -> None:
    found = OidcProvider.model_validate(GOOD | {"roles": {}, "default_role": "viewer"})
    assert found.default_role == "viewer"
