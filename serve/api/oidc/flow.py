"""The way to an identity provider and back: authorisation code with PKCE, by Authlib."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any

import httpx2
from authlib.integrations.base_client import MismatchingStateError, OAuthError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from cluster.core.oidc_settings import OidcProvider
from pipelines.errors import NotFoundError, UnavailableError
from serve.api.oidc.claims import Identity, NotAllowedError, identity_of
from serve.api.problems import TooManyRequestsError
from serve.api.slots import Slots
from serve.api.throttle import network_of

# Of one call of the provider.
TIMEOUT_S = 10.0
# Calls of one provider at once, and of one network of the callers: each is a stranger's.
MAX_CALLS, MAX_CALLS_PER_NETWORK = 32, 8
# What an ID token may be signed with. Left out are `none` and those where the client's own secret
# is the key.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "EdDSA"})


class Failure(StrEnum):
    """Why somebody came back without being signed in. The page has a text for each."""

    DENIED = "denied"
    """The provider refused, or they turned back there."""
    EXPIRED = "expired"
    """The sign-in did not begin in this browser, or too long ago."""
    NOT_ALLOWED = "not-allowed"
    """Nothing lets this person in."""
    UNAVAILABLE = "unavailable"
    """The provider cannot be reached, or its answer is unusable."""


class OidcError(Exception):
    """A sign-in that failed. The text is for the log."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class OidcFlow:
    """Of one provider.

    Args:
        name: in the settings and in addresses.
        api_url: of the API, as browsers know it.
    """

    def __init__(self, name: str, provider: OidcProvider, api_url: str) -> None:
        self.name = name
        self.provider = provider
        self._callback = f"{api_url.rstrip('/')}/v1/auth/oidc/{name}/callback"
        self._client = _client(name, provider)
        self._calls = Slots(MAX_CALLS, MAX_CALLS_PER_NETWORK)

    async def redirect(self, request: Request, address: str) -> Response:
        """Where a browser goes to sign in. What is needed on the way back goes into its session.

        Raises:
            OidcError: the provider cannot be reached.
            UnavailableError: many wait for it.
            TooManyRequestsError: many of this network wait.
        """
        with self._slot(address):
            await self._check_metadata()
            response: Response = await self._client.authorize_redirect(request, self._callback)
        return response

    async def identity(self, request: Request, address: str) -> Identity:
        """Who came back from the provider.

        Raises:
            OidcError: nobody whom the provider lets in, and the settings allow.
            UnavailableError, TooManyRequestsError: as for `redirect`.
        """
        with self._slot(address):
            await self._check_metadata()
            claims = await self._claims(request)
        try:
            return identity_of(self.provider, claims)
        except NotAllowedError as error:
            raise OidcError(Failure.NOT_ALLOWED, str(error)) from error

    async def _claims(self, request: Request) -> Mapping[str, Any]:
        """Of the ID token, which was verified: signature, issuer, audience, nonce and time."""
        issuer = self._client.server_metadata["issuer"]
        required = {"iss": {"essential": True, "values": [issuer]}, "sub": {"essential": True}}
        try:
            token = await self._client.authorize_access_token(request, claims_options=required)
        except MismatchingStateError as error:
            raise OidcError(Failure.EXPIRED, "the state is not one of this browser") from error
        except OAuthError as error:
            raise OidcError(Failure.DENIED, f"refused: {error.error}") from error
        except httpx2.HTTPError as error:
            raise OidcError(Failure.UNAVAILABLE, f"no answer: {error!r}") from error
        except (JoseError, ValueError, KeyError, RuntimeError) as error:
            raise OidcError(Failure.UNAVAILABLE, f"unusable answer: {error!r}") from error
        claims: Mapping[str, Any] | None = token.get("userinfo")
        if claims is None:
            raise OidcError(Failure.UNAVAILABLE, "unusable answer: it has no ID token")
        return claims

    async def _check_metadata(self) -> None:
        """Raises OidcError: the provider cannot be reached, or is not the one of the settings."""
        try:
            metadata = await self._client.load_server_metadata()
        except (httpx2.HTTPError, ValueError) as error:
            raise OidcError(Failure.UNAVAILABLE, f"no metadata: {error!r}") from error
        issuer = metadata.get("issuer")
        if not isinstance(issuer, str) or issuer.rstrip("/") != self.provider.issuer.rstrip("/"):
            # What was loaded is forgotten, so that the next sign-in asks again.
            self._client.server_metadata.pop("_loaded_at", None)
            raise OidcError(Failure.UNAVAILABLE, "the metadata name another issuer")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = sorted(ALGORITHMS & set(offered))

    def _slot(self, address: str) -> AbstractContextManager[None]:
        network = network_of(address)
        if self._calls.of(network) >= MAX_CALLS_PER_NETWORK:
            raise TooManyRequestsError(
                "Too many sign-ins of your network wait.", hint="Try again in a moment."
            )
        if not self._calls.has_room(network):
            raise UnavailableError("Too many sign-ins wait.", hint="Try again in a moment.")
        return self._calls.hold(network)


class OidcFlows:
    """Of all providers. Owned by the application."""

    def __init__(self, providers: Mapping[str, OidcProvider], api_url: str) -> None:
        self._flows = {name: OidcFlow(name, one, api_url) for name, one in providers.items()}

    def of_tenant(self, tenant: str) -> list[OidcFlow]:
        """Where users of a tenant sign in; none for an unknown tenant."""
        return [flow for flow in self._flows.values() if flow.provider.tenant == tenant]

    def flow(self, name: str) -> OidcFlow:
        """Raises NotFoundError."""
        found = self._flows.get(name)
        if found is None:
            raise NotFoundError(f"there is no identity provider {name}.")
        return found


def _client(name: str, provider: OidcProvider) -> StarletteOAuth2App:
    secret = provider.client_secret.get_secret_value() if provider.client_secret else None
    options: dict[str, Any] = {
        "scope": " ".join(dict.fromkeys(("openid", *provider.scopes))),
        "code_challenge_method": "S256",
        "timeout": TIMEOUT_S,
    }
    if secret is None:
        options["token_endpoint_auth_method"] = "none"
    return OAuth().register(
        name,
        client_id=provider.client_id,
        client_secret=secret,
        server_metadata_url=f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs=options,
    )
