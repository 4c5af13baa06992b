"""The caller's identity: `Authorization: Bearer <key or access token>`, checked first of all.

`RequireKey` guards the whole of `/v1/`, so that a route cannot be added without it. What a good key
may touch is in `scope`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.core.log import get_logger
from cluster.stores.db import PlatformRecords, Principal
from cluster.stores.db.keys import key_id
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError, UnavailableError
from pipelines.moving import TenantMovingError
from serve.api.audit.windows import Refusal
from serve.api.held_answer import HeldAnswer
from serve.api.holding import Holding
from serve.api.homes import Homes
from serve.api.key_lookup import KeyLookup
from serve.api.key_uses import KeyUses
from serve.api.problems import (
    TenantElsewhereError,
    TooManyRequestsError,
    UnauthorizedError,
    response_for,
)
from serve.api.short_memory import ShortMemory
from serve.api.sign_in import ExpiredTokenError, SignIn
from serve.api.user_tokens import UserToken

# A revoked key works for at most this long; a busy dashboard reads SQL this often instead of for
# every request.
CACHE_TTL_S = 2.0
CACHE_SIZE = 4096

# Keys carry 256 random bits, so this does not stop guessing: it stops a broken client from turning
# every request into a log line.
FAILURES_PER_MINUTE = 30

# Longer than any key or token we issue (56 and some 450 characters); what is longer is not worth
# hashing.
MAX_KEY_LENGTH = 1024

log = get_logger("api")


class Authenticator:
    """Finds the principal of a key or of an access token, with a short memory, and tells those who
    guess to wait.

    A key is always looked up before anybody is refused: a guesser cannot lock out the others
    behind the same address.
    """

    def __init__(
        self,
        records: PlatformRecords,
        clock: Clock,
        sign_in: SignIn | None = None,
        homes: Homes | None = None,
        *,
        failures_per_minute: int = FAILURES_PER_MINUTE,
    ) -> None:
        self._sign_in = sign_in
        self._homes = homes
        self._lookup: KeyLookup[str] = KeyLookup(records.find_keys)
        self._uses = KeyUses(records.note_uses, clock)
        self._known: ShortMemory[bytes, Principal] = ShortMemory(clock, CACHE_TTL_S, CACHE_SIZE)
        self._limit = RateLimitItemPerMinute(failures_per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def principal(self, header: str | None, address: str) -> Principal:
        """The principal of an `Authorization` header sent from `address`.

        Raises:
            UnauthorizedError: no key, an unknown one, one that was revoked or has expired; an
                access token that has expired, or whose session is over.
            TooManyRequestsError: too many wrong keys from this address.
            TenantElsewhereError: the tenant lives in a pod. TenantMovingError: it is on its way.
        """
        secret = _bearer(header)
        # Each time, because it expires while the session is still remembered below.
        token = self._sign_in.access_token(secret) if self._sign_in is not None else None
        digest = hashlib.sha256(secret.encode()).digest()
        known = self._known.get(digest)
        if known is not None:
            return known
        principal = await self._find(secret, token)
        if principal is None:
            self._known.forget(digest)
            await self._refuse_guessers(address)
            await self._limiter.hit(self._limit, address)
            log.info("wrong key", address=address)
            raise _not_valid(token)
        if self._homes is not None and principal.tenant is not None:
            await self._homes.check(principal.tenant)
        self._known.keep(digest, principal)
        return principal

    def start(self) -> None:
        """Begin with what runs in the background; in the event loop that serves the requests."""
        self._uses.start()

    async def flush(self) -> None:
        """Write when keys were used."""
        await self._uses.flush()

    async def aclose(self) -> None:
        """Idempotent."""
        await self._lookup.aclose()
        await self._uses.aclose()

    async def still_good(self, header: str | None, address: str) -> bool:
        """Whether a key that opened a stream is still good; checked while the stream lasts."""
        try:
            await self.principal(header, address)
        except (UnauthorizedError, TooManyRequestsError, TenantMovingError, TenantElsewhereError):
            return False
        except UnavailableError:
            # Unknown: records that are away for a while shall not end the alarm streams.
            return True
        return True

    async def _find(self, secret: str, token: UserToken | None) -> Principal | None:
        if token is not None and self._sign_in is not None:
            return await self._sign_in.principal(token)
        key = key_id(secret)
        principal = await self._lookup.find(secret) if key is not None else None
        if key is not None and principal is not None:
            self._uses.note(key)
        return principal

    async def _refuse_guessers(self, address: str) -> None:
        if not await self._limiter.test(self._limit, address):
            raise TooManyRequestsError(
                "Too many wrong keys came from your address.",
                hint="Wait a minute, then try again with the right key.",
                retry_after_s=60,
            )


def _not_valid(token: UserToken | None) -> UnauthorizedError:
    if token is None:
        hint = "It may have been revoked; ask for a new one."
        return UnauthorizedError("This key is not valid.", hint=hint)
    return UnauthorizedError("This session is over.", hint="Sign in: POST /v1/auth/login.")


def _bearer(header: str | None) -> str:
    scheme, _, secret = (header or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > MAX_KEY_LENGTH:
        raise UnauthorizedError(
            "This address needs a key.", hint="Send the header `Authorization: Bearer <key>`."
        )
    return secret


def peer(scope: Scope) -> str | None:
    """Where a request comes from: the peer, or what a trusted proxy says of its own peer
    (`api.trusted_proxies`); never a header that anybody can send. None: unknown."""
    client = scope.get("client")
    return str(client[0]) if client else None


def client_address(scope: Scope) -> str:
    """The same as a text, for counting by it."""
    return peer(scope) or "unknown"


OPEN = frozenset({"/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout", "/v1/auth/providers"})
"""Under `/v1`, but without a credential, or with one of their own."""
OIDC_PREFIX = "/v1/auth/oidc/"
"""The way to an identity provider and back: the same."""


def path_of(scope: Scope) -> str:
    """The path of a request, without that under which a proxy serves the API; as routes see it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    rest = path.removeprefix(root)
    return rest if rest == "" or rest.startswith("/") else path


def _needs_key(scope: Scope) -> bool:
    path = path_of(scope)
    if path in OPEN or path.startswith(OIDC_PREFIX):
        return False
    return f"{path}/".startswith("/v1/")


Refused = Callable[[str | None, Refusal, str | None], None]
"""Called for a refused credential: address, cause, and the public part of the key if it was one."""


class RequireKey:
    """ASGI middleware: nothing under `/v1/` is reached, or its body read, without a good key; and
    an answer ends with the key."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        refused: Refused,
        holding: Holding,
        clock: Clock,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._refused = refused
        self._holding = holding
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _needs_key(scope):
            await self._app(scope, receive, send)
            return
        header = Headers(scope=scope).get("authorization")
        address = client_address(scope)
        try:
            principal = await self._authenticator.principal(header, address)
        except AtalaiaError as error:
            # Every page meets the end of its access token; that is no attempt at anything.
            if isinstance(error, UnauthorizedError | TooManyRequestsError) and not isinstance(
                error, ExpiredTokenError
            ):
                self._refused(peer(scope), *_refusal(header, error))
            await response_for(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        still_good = partial(self._holding.may_go_on, principal.holder)
        answer = HeldAnswer(send, still_good, self._clock)
        await answer.of(self._app, scope, receive)


def _refusal(header: str | None, error: AtalaiaError) -> tuple[Refusal, str | None]:
    """Why a credential was refused, and the id in it; never its secret part."""
    if not header:
        return Refusal.MISSING, None
    sent = header.partition(" ")[2].strip()
    known = key_id(sent) if len(sent) <= MAX_KEY_LENGTH else None
    blocked = isinstance(error, TooManyRequestsError)
    return (Refusal.BLOCKED if blocked else Refusal.WRONG), known
