"""Who somebody is, by the claims of an ID token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.oidc_settings import OidcProvider
from cluster.core.roles import Role, TenantRole
from serve.api.oidc.claims import Identity, NotAllowedError, identity_of

CLAIMS = {"sub": "248289761001", "email": "Ana@Acme.Example", "name": "Ana", "roles": ["guards"]}


def provider(
    *,
    roles: dict[str, TenantRole] | None = None,
    default_role: TenantRole | None = None,
    role_claim: str = "roles",
    groups: dict[str, str] | None = None,
) -> OidcProvider:
    return OidcProvider(
        tenant="acme",
        title="Acme",
        issuer="https://login.acme.example",
        client_id="atalaia",
        roles={"guards": Role.OPERATOR} if roles is None else roles,
        default_role=default_role,
        role_claim=role_claim,
        group_claim="sites" if groups else None,
        groups=groups or {},
    )


def test_a_person() -> None:
    assert identity_of(provider(), CLAIMS) == Identity(
        "248289761001", "ana@acme.example", False, "Ana", Role.OPERATOR
    )


@pytest.mark.parametrize(
    ("verified", "expected"), [(True, True), (False, False), ("true", False), (1, False)]
)
def test_only_true_means_verified(verified: object, expected: bool) -> None:
    found = identity_of(provider(), CLAIMS | {"email_verified": verified})
    assert found.email_verified is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("guards", Role.OPERATOR),
        (["guards"], Role.OPERATOR),
        (["guards", "bosses", "others"], Role.ADMIN),
        (["bosses", "guards"], Role.ADMIN),
        (["Guards"], Role.VIEWER),
        ([], Role.VIEWER),
        (None, Role.VIEWER),
        ({"guards": True}, Role.VIEWER),
        ([["guards"], 1, None], Role.VIEWER),
        ("guards bosses", Role.VIEWER),
    ],
)
def test_the_strongest_role_applies(value: object, expected: Role) -> None:
    roles: dict[str, TenantRole] = {"guards": Role.OPERATOR, "bosses": Role.ADMIN}
    found = identity_of(provider(roles=roles, default_role=Role.VIEWER), CLAIMS | {"roles": value})
    assert found.role is expected


def test_a_claim_inside_others() -> None:
    nested = CLAIMS | {"roles": [], "realm_access": {"roles": ["guards"]}}
    inside = provider(role_claim="realm_access.roles")
    assert identity_of(inside, nested).role is Role.OPERATOR
    # Auth0 wants names of claims to be URLs, which have dots of their own.
    url = "https://acme.example/roles"
    assert identity_of(provider(role_claim=url), CLAIMS | {url: "guards"}).role is Role.OPERATOR


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"email": None}, "email"),
        ({"email": ["ana@acme.example"]}, "email"),
        ({"email": "ana"}, "email"),
        ({"roles": "others"}, "roles"),
        ({"roles": None}, "roles"),
    ],
)
def test_who_is_not_let_in(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(NotAllowedError, match=why):
        identity_of(provider(), CLAIMS | changed)


def test_a_person_without_a_name_has_that_of_the_address() -> None:
    assert identity_of(provider(), CLAIMS | {"name": "\n"}).name == "ana@acme.example"
    assert identity_of(provider(), CLAIMS | {"name": None}).name == "ana@acme.example"


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (["north"], ("north-wing",)),
        (["south", "north", "elsewhere"], ("north-wing", "south-wing")),
        ("north", ("north-wing",)),
    ],
)
def test_camera_groups(sites: object, expected: tuple[str, ...]) -> None:
    limited = provider(groups={"north": "north-wing", "south": "south-wing"})
    assert identity_of(limited, CLAIMS | {"sites": sites}).groups == expected


def test_whom_groups_limit() -> None:
    """Nobody sees all cameras because a claim is missing; admins do."""
    limited = provider(groups={"north": "north-wing"}, roles={"guards": Role.ANALYST})
    for sites in (None, [], ["elsewhere"], {"north": True}):
        with pytest.raises(NotAllowedError, match="sites"):
            identity_of(limited, CLAIMS | {"sites": sites})
    admins = provider(groups={"north": "north-wing"}, roles={"guards": Role.ADMIN})
    assert identity_of(admins, CLAIMS).groups is None
    assert identity_of(provider(), CLAIMS).groups == "kept"


@given(
    st.dictionaries(
        st.sampled_from(["sub", "email", "email_verified", "name", "roles"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
)
def test_claims_of_any_shape(changed: dict[str, Any]) -> None:
    """They let in or are refused, and never more than the settings say."""
    try:
        found = identity_of(provider(), CLAIMS | changed)
    except NotAllowedError:
        return
    assert found.role is Role.OPERATOR
    assert 0 < len(found.subject) <= 255
    assert 0 < len(found.name) <= 120
    assert found.name.isprintable()
