"""The identity providers in the section `auth` of the settings."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from cluster.core.roles import TenantRole
from cluster.core.section import Section
from pipelines.domain import Slug


class OidcProvider(Section):
    """An identity provider (OpenID Connect) through which users of one tenant sign in.

    The provider must allow the address `<api.url>/v1/auth/oidc/<name>/callback` for the answer.
    """

    tenant: Slug = Field(description="whose users sign in here")
    title: Annotated[str, Field(min_length=1, max_length=60)] = Field(
        description="of the button on the sign-in page, such as `Acme single sign-on`"
    )
    issuer: str = Field(
        description="URL of the provider, as its tokens name it; below it lies "
        "`/.well-known/openid-configuration`"
    )
    client_id: Annotated[str, Field(min_length=1, max_length=255)]
    client_secret: SecretStr | None = Field(None, description="of a confidential client")
    scopes: tuple[str, ...] = Field(("email", "profile"), description="asked for, besides `openid`")
    role_claim: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        "roles",
        description="claim of the ID token with the user's roles, a text or a list of texts; dots "
        "lead into objects: `realm_access.roles`",
    )
    roles: dict[str, TenantRole] = Field(
        default_factory=dict,
        description="role for each value of that claim; of several the strongest applies",
    )
    default_role: TenantRole | None = Field(
        None, description="of users for whom no value applies; not set: they are refused"
    )
    group_claim: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None,
        description="claim with the camera groups that the user is limited to, found like "
        "`role_claim`; not set: groups are given here, and kept",
    )
    groups: dict[str, Slug] = Field(
        default_factory=dict,
        description="id of a camera group for each value of that claim. Who has none of them is "
        "refused, except admins, who have all cameras",
    )
    adopt_users: bool = Field(
        False,
        description="whether an existing user whose e-mail address the provider has verified "
        "becomes the provider's at the first sign-in; otherwise such a sign-in is refused",
    )
    session_ttl_s: Annotated[int, Field(ge=600, le=90 * 86_400)] = Field(
        12 * 3600,
        description="after this the user signs in at the provider again, so that whoever was "
        "removed there is out",
    )

    @field_validator("issuer")
    @classmethod
    def _secure(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        local = parts.scheme == "http" and _is_loopback(parts.hostname or "")
        if not parts.hostname or not (parts.scheme == "https" or local):
            raise ValueError("the issuer must be an https:// URL (http:// only on loopback)")
        if parts.username or parts.query or parts.fragment:
            raise ValueError("the issuer must have neither credentials, nor a query or fragment")
        return issuer

    @model_validator(mode="after")
    def _lets_somebody_in(self) -> Self:
        if not self.roles and self.default_role is None:
            raise ValueError("roles and default_role are empty, so nobody could sign in")
        if (self.group_claim is None) != (not self.groups):
            raise ValueError("group_claim and groups belong together")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
