"""Who somebody is, by the claims of an ID token. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cluster.core.oidc_settings import OidcProvider
from cluster.core.roles import GRANTS, Role
from cluster.stores.db.types import Groups
from cluster.stores.db.users import MAX_SUBJECT, check_email
from pipelines.errors import InputError
from serve.api.fields import MAX_NAME

_STRENGTH = {role: n for n, role in enumerate(GRANTS)}
"""The table of roles begins with the weakest."""


class NotAllowedError(Exception):
    """The provider knows this person, but nothing lets them in here. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in at a provider.

    Attributes:
        subject: the provider's own id of the person, which never changes.
        email: in its normal form.
        email_verified: whether the provider says that the address is theirs.
        groups: camera groups that they are limited to; None: all cameras; `kept`: the provider says
            nothing of them.
    """

    subject: str
    email: str
    email_verified: bool
    name: str
    role: Role
    groups: Groups | Literal["kept"] = "kept"


def identity_of(provider: OidcProvider, claims: Mapping[str, Any]) -> Identity:
    """Who somebody is.

    Args:
        claims: of an ID token that was verified.

    Raises:
        NotAllowedError: there is no usable id or e-mail address, or no role.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise NotAllowedError("the claim sub is missing or too long")
    email = _email(claims.get("email"))
    role = _role(provider, claims)
    return Identity(
        subject=subject,
        email=email,
        email_verified=claims.get("email_verified") is True,
        name=_name(claims.get("name")) or email[:MAX_NAME],
        role=role,
        groups=_groups(provider, claims, role),
    )


def _email(value: Any) -> str:
    if not isinstance(value, str):
        raise NotAllowedError("the claim email is missing; is the scope email allowed?")
    try:
        return check_email(value)
    except InputError as error:
        raise NotAllowedError("the claim email is no e-mail address") from error


def _name(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value if char.isprintable()).strip()[:MAX_NAME]


def _role(provider: OidcProvider, claims: Mapping[str, Any]) -> Role:
    values = _texts(_claim(claims, provider.role_claim))
    found: list[Role] = [provider.roles[value] for value in values if value in provider.roles]
    if found:
        return max(found, key=_STRENGTH.__getitem__)
    if provider.default_role is None:
        raise NotAllowedError(f"no value of the claim {provider.role_claim} has a role")
    return provider.default_role


def _groups(
    provider: OidcProvider, claims: Mapping[str, Any], role: Role
) -> Groups | Literal["kept"]:
    if provider.group_claim is None:
        return "kept"
    if role is Role.ADMIN:
        return None
    values = _texts(_claim(claims, provider.group_claim))
    found = {provider.groups[value] for value in values if value in provider.groups}
    if not found:
        raise NotAllowedError(f"no value of the claim {provider.group_claim} has a camera group")
    return tuple(sorted(found))


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name or, where there is none, by a path with dots."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
