"""Users sign in, renew their tokens, and sign out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Self

from pydantic import SecretStr

from cluster.core.oidc_settings import OidcProvider
from cluster.core.passwords import check_password, is_outdated
from cluster.core.settings import Settings
from cluster.stores.db import Database, Principal, User
from cluster.stores.db.user_sessions import Renewal, new_session_id
from cluster.stores.db.users import NO_PASSWORD, normal_email
from pipelines.clock import Clock
from pipelines.errors import InputError, UnavailableError
from serve.api.oidc.claims import Identity
from serve.api.password_checks import PasswordChecks
from serve.api.problems import ForbiddenError, TooManyRequestsError, UnauthorizedError
from serve.api.throttle import SignInThrottle, network_of
from serve.api.user_tokens import Audience, Client, TokenKeys, UserToken, is_over, token_digest


class WrongPasswordError(UnauthorizedError):
    """Sign-in was refused. `user`: whose account it was, for the log only; None: nobody's."""

    def __init__(self, user: User | None) -> None:
        super().__init__(
            "Tenant, e-mail address or password are wrong.", hint="An admin can set a new password."
        )
        self.user = user


class WrongCurrentPasswordError(ForbiddenError):
    """Somebody who has signed in does not know the password. No 401: the session goes on."""

    def __init__(self) -> None:
        super().__init__("The current password is wrong.", hint="An admin can set a new one.")


class ExpiredTokenError(UnauthorizedError):
    """An access token of ours that has expired."""


class ReusedTokenError(UnauthorizedError):
    """A refresh token came back after its use: its session has ended."""

    def __init__(self, token: UserToken) -> None:
        super().__init__(_OVER, hint=_SIGN_IN)
        self.token = token


# A browser in which nobody signs in for a year is a stranger again.
DEVICE_TTL_S = 365 * 86_400

_OVER = "This session is over."
_SIGN_IN = "Sign in: POST /v1/auth/login."


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a user gets. `expires_in_s`: of the access token; `session_s`: of the session; `device`:
    makes this browser known, after a sign-in."""

    access: str
    refresh: str
    expires_in_s: int
    session_s: int
    token: UserToken
    device: str | None = None


class SignIn:
    """Owned by the application."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keys: TokenKeys,
        throttle: SignInThrottle,
        *,
        access_token_ttl_s: int,
        session_ttl_s: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keys = keys
        self._throttle = throttle
        self._access_ttl_s = access_token_ttl_s
        self._session_ttl_s = session_ttl_s
        self.passwords = PasswordChecks()

    @classmethod
    def of(cls, settings: Settings, database: Database, clock: Clock) -> Self:
        """As the settings say. Raises ConfigError."""
        return cls(
            database,
            clock,
            TokenKeys.of(settings),
            SignInThrottle(clock),
            access_token_ttl_s=settings.auth.access_token_ttl_s,
            session_ttl_s=settings.auth.session_ttl_s,
        )

    async def login(
        self,
        tenant: str,
        email: str,
        password: SecretStr,
        client: Client,
        address: str,
        device: str | None = None,
    ) -> Tokens:
        """Begin a session. Every refusal takes as long and says the same.

        Args:
            device: what a browser got at an earlier sign-in.

        Raises:
            WrongPasswordError: no such user, another password, or a disabled user.
            TooManyRequestsError: too many sign-ins failed from this network.
            UnavailableError: too many sign-ins wait, or the records are away.
        """
        account, network = _account(tenant, email), network_of(address)
        known = self._known_device(device, tenant, account)
        self._throttle.admit(account, network, known)
        try:
            user, kept = await self._checked(tenant, email, password, network, known)
        except (TooManyRequestsError, UnavailableError):
            # Nothing was checked, so nothing was tried.
            self._throttle.forgive(account, network, known)
            raise
        tokens = await self._begin(tenant, user, kept, client, self._session_ttl_s)
        self._throttle.forgive(account, network, known)
        if client == "browser":
            return replace(tokens, device=self._device(tenant, account, known))
        return tokens

    async def external(self, name: str, provider: OidcProvider, identity: Identity) -> Tokens:
        """Begin a browser's session of somebody who signed in at an identity provider.

        Raises:
            ConflictError: another user has this e-mail address, or it is the last admin, and the
                provider gives another role.
            WrongPasswordError: the user is disabled here.
            NotFoundError: there is no such tenant.
            UnavailableError: the records are away.
        """
        user = await self._database.users(provider.tenant).from_provider(
            name,
            identity.subject,
            identity.email,
            identity.name,
            identity.role,
            identity.groups,
            adopt=provider.adopt_users and identity.email_verified,
        )
        ttl_s = provider.session_ttl_s
        return await self._begin(provider.tenant, user, NO_PASSWORD, "browser", ttl_s)

    async def _begin(
        self, tenant: str, user: User, kept: SecretStr, client: Client, session_ttl_s: int
    ) -> Tokens:
        expires_s = self._now_s() + session_ttl_s
        token = UserToken(tenant, user.id, new_session_id(), client, expires_s)
        refresh = self._keys.sign(Audience.REFRESH, token)
        began = await self._database.sessions(tenant).begin(
            user.id, kept, token.session, token_digest(refresh), expires_s * 1_000_000
        )
        if not began:
            raise WrongPasswordError(user)
        return self._tokens(token, refresh)

    async def refresh(self, text: str) -> Tokens:
        """The next pair of tokens; `text` is used up.

        Raises:
            UnauthorizedError: it is no token of ours, or its session is over.
            ReusedTokenError: it was used before; the session has ended now.
        """
        token = self._refresh_token(text)
        following = replace(token, generation=token.generation + 1)
        refresh = self._keys.sign(Audience.REFRESH, following)
        renewal = await self._database.sessions(token.tenant).renew(
            token.session, token.generation, token_digest(text), token_digest(refresh)
        )
        if renewal is Renewal.REUSED:
            raise ReusedTokenError(token)
        if renewal is Renewal.GONE:
            raise UnauthorizedError(_OVER, hint=_SIGN_IN)
        return self._tokens(following, refresh)

    async def logout(self, text: str) -> UserToken | None:
        """End the session of a refresh token, used or not. None: there was none to end."""
        token = self._keys.read(Audience.REFRESH, text)
        if token is None or not await self._database.sessions(token.tenant).end(token.session):
            return None
        return token

    def access_token(self, text: str) -> UserToken | None:
        """What an access token says; None: it is none of ours.

        Raises:
            ExpiredTokenError: it has expired.
        """
        token = self._keys.read(Audience.ACCESS, text)
        if token is not None and is_over(token, self._clock):
            raise ExpiredTokenError(
                "This access token has expired.", hint="Renew it: POST /v1/auth/refresh."
            )
        return token

    def browser(self, refresh: str | None, device: str | None) -> str | None:
        """The id of the session or of the device that a browser's cookies name; None: neither is
        one of ours that could be good."""
        for audience, text in ((Audience.REFRESH, refresh), (Audience.DEVICE, device)):
            token = self._keys.read(audience, text) if text else None
            if token is not None and not is_over(token, self._clock):
                return token.session
        return None

    async def principal(self, token: UserToken) -> Principal | None:
        """Whose session an access token is of; None: it has ended."""
        return await self._database.sessions(token.tenant).principal(token.session)

    async def change_password(
        self,
        tenant: str,
        user: User,
        session: str,
        current: SecretStr,
        new: SecretStr,
        address: str,
    ) -> None:
        """Put a user's new password in the place of the current one, and end the user's sessions
        but this one.

        Raises:
            InputError: the new one is too weak, or the current one.
            WrongCurrentPasswordError: the current one is another, or was changed meanwhile.
            TooManyRequestsError: this session tried too often.
            UnavailableError: too many passwords wait, or the records are away.
        """
        check_password(new.get_secret_value())
        if new == current:
            raise InputError("the new password is the current one.", hint="Choose another.")
        account, network = _account(tenant, user.email), network_of(address)
        # A budget of its own: who fails to sign in from the same network does not spend it.
        self._throttle.admit(account, network, session)
        users = self._database.users(tenant)
        try:
            found = await users.find(user.email)
            kept = found[1] if found is not None else None
            good = await self.passwords.verify(kept, current, network, known=True)
            hashed = await self.passwords.hash(new, network, known=True) if good else None
        except (TooManyRequestsError, UnavailableError):
            self._throttle.forgive(account, network, session)
            raise
        if kept is None or hashed is None:
            raise WrongCurrentPasswordError
        if not await users.replace_password(user.id, kept, hashed, session):
            raise WrongCurrentPasswordError
        self._throttle.forgive(account, network, session)

    async def aclose(self) -> None:
        """Idempotent."""
        await self.passwords.aclose()

    async def _checked(
        self, tenant: str, email: str, password: SecretStr, network: str, device: str | None
    ) -> tuple[User, SecretStr]:
        """Whose password it is, and the hash that is kept of it."""
        users = self._database.users(tenant)
        found = await users.find(email)
        user, kept = found if found is not None else (None, None)
        who, known = device or network, device is not None
        good = await self.passwords.verify(kept, password, who, known=known)
        if user is None or kept is None or user.disabled or not good:
            raise WrongPasswordError(user)
        if is_outdated(kept.get_secret_value()):
            new = await self.passwords.hash(password, who, known=known)
            await users.keep_hash(user.id, kept, new)
            kept = new
        return user, kept

    def _refresh_token(self, text: str) -> UserToken:
        token = self._keys.read(Audience.REFRESH, text)
        if token is None:
            raise UnauthorizedError("This refresh token is not valid.", hint=_SIGN_IN)
        if is_over(token, self._clock):
            raise UnauthorizedError(_OVER, hint=_SIGN_IN)
        return token

    def _known_device(self, text: str | None, tenant: str, account: str) -> str | None:
        """The id of a browser in which this account has signed in before; None: it has not."""
        token = self._keys.read(Audience.DEVICE, text) if text else None
        if token is None or is_over(token, self._clock):
            return None
        return token.session if (token.tenant, token.user) == (tenant, account) else None

    def _device(self, tenant: str, account: str, known: str | None) -> str:
        expires_s = self._now_s() + DEVICE_TTL_S
        token = UserToken(tenant, account, known or new_session_id(), "browser", expires_s)
        return self._keys.sign(Audience.DEVICE, token)

    def _tokens(self, token: UserToken, refresh: str) -> Tokens:
        now_s = self._now_s()
        expires_s = min(now_s + self._access_ttl_s, token.expires_s)
        access = self._keys.sign(Audience.ACCESS, replace(token, expires_s=expires_s, generation=0))
        return Tokens(access, refresh, expires_s - now_s, token.expires_s - now_s, token)

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000


def _account(tenant: str, email: str) -> str:
    """Names an account, whether or not it exists."""
    return hashlib.sha256(f"{tenant} {normal_email(email)}".encode()).hexdigest()
