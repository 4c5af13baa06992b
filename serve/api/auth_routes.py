"""`/v1/auth`: users sign in, renew their tokens, sign out. A browser keeps its refresh token in a
cookie that no script can read; a program gets it in the answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Cookie, Header, Request, Response
from pydantic import Field

from cluster.core.passwords import MAX_CHARS, MIN_CHARS
from cluster.core.roles import Permission
from cluster.stores.audit.events import AuditAction, AuditEvent, AuditOutcome
from cluster.stores.db.types import user_actor
from cluster.stores.db.users import MAX_EMAIL
from pipelines.domain import Slug
from serve.api.audit.note import AuditNoteDep
from serve.api.audit.windows import Refusal
from serve.api.auth import client_address, peer
from serve.api.fields import RequestBody, ResponseBody, SecretText
from serve.api.permissions import PrincipalDep, needs
from serve.api.problems import ForbiddenError, UnauthorizedError, responses
from serve.api.scope import UserDep
from serve.api.sign_in import DEVICE_TTL_S, ReusedTokenError, Tokens, WrongPasswordError
from serve.api.state import ApiState, StateDep
from serve.api.user_tokens import Client

router = APIRouter(
    prefix="/v1/auth", tags=["auth"], responses=responses(400, 401, 403, 413, 422, 429, 503)
)

COOKIE = "atalaia_refresh"
DEVICE_COOKIE = "atalaia_device"
COOKIE_PATH = "/v1/auth"
MAX_TOKEN_CHARS = 2048


class Credentials(RequestBody):
    tenant: Slug = Field(examples=["acme"])
    email: str = Field(min_length=1, max_length=MAX_EMAIL, examples=["ana@acme.example"])
    password: SecretText = Field(min_length=1, max_length=MAX_CHARS)
    client: Client = Field(
        "program", description="A browser gets its refresh token as a cookie, not in the answer."
    )


class RefreshToken(RequestBody):
    refresh_token: SecretText | None = Field(
        None, max_length=MAX_TOKEN_CHARS, description="Of a program; a browser sends its cookie."
    )


class PasswordChange(RequestBody):
    current: SecretText = Field(min_length=1, max_length=MAX_CHARS)
    new: SecretText = Field(
        min_length=MIN_CHARS, max_length=MAX_CHARS, examples=["correct horse battery staple"]
    )


class TokenAnswer(ResponseBody):
    access_token: str = Field(description="For `Authorization: Bearer …`.")
    token_type: str = "Bearer"
    expires_in: int = Field(description="Seconds that the access token works.")
    refresh_token: str | None = Field(
        None, description="For a program; works once. A browser has it as a cookie."
    )


RefreshCookie = Annotated[
    str | None,
    Cookie(alias=COOKIE, max_length=MAX_TOKEN_CHARS, description="The browser's refresh token."),
]
DeviceCookie = Annotated[
    str | None,
    Cookie(
        alias=DEVICE_COOKIE,
        max_length=MAX_TOKEN_CHARS,
        description="Of a browser in which the account has signed in: others behind the same "
        "address cannot keep it from signing in again.",
    ),
]
FetchSite = Annotated[str | None, Header(alias="Sec-Fetch-Site", include_in_schema=False)]


@router.post("/login", summary="Sign in", response_model_exclude_none=True)
async def login(
    body: Credentials,
    request: Request,
    response: Response,
    state: StateDep,
    note: AuditNoteDep,
    device: DeviceCookie = None,
) -> TokenAnswer:
    """The same answer, after the same time, whether the account does not exist, is disabled or has
    another password. Some failures in a row from one network are followed by 429. Where the tenant
    is served by a cluster of its own, 421 says which."""
    await state.homes.check(body.tenant)
    try:
        tokens = await state.sign_in.login(
            body.tenant,
            body.email,
            body.password,
            body.client,
            client_address(request.scope),
            device,
        )
    except WrongPasswordError as error:
        if error.user is not None:
            note.link = body.tenant, "unknown"
            note.action = AuditAction.SESSION_REFUSE
            note.details["user"] = error.user.id
        raise
    note.committed = True
    note.link = body.tenant, user_actor(tokens.token.user)
    note.object_id = tokens.token.session
    note.details["client"] = body.client
    return _answer(tokens, request, response, state)


@router.post("/refresh", summary="Renew the tokens", response_model_exclude_none=True)
async def refresh(
    request: Request,
    response: Response,
    state: StateDep,
    body: RefreshToken | None = None,
    cookie: RefreshCookie = None,
    site: FetchSite = None,
) -> TokenAnswer:
    """Each refresh token works once. One that comes back ends the session, because two have it: of
    several tabs, only one may renew."""
    try:
        tokens = await state.sign_in.refresh(_sent(body, cookie, site))
    except ReusedTokenError as error:
        token = error.token
        event = AuditEvent(
            at_us=state.deps.clock.now_us(),
            actor=user_actor(token.user),
            action=AuditAction.SESSION_REUSE,
            object_kind="session",
            object_id=token.session,
            address=peer(request.scope),
            outcome=AuditOutcome.REFUSED,
            reason="a refresh token was used twice",
        )
        state.auditor.record(event, (token.tenant,), once=False)
        raise
    except UnauthorizedError:
        state.auditor.refuse(peer(request.scope), Refusal.SESSION)
        raise
    return _answer(tokens, request, response, state)


@router.post("/logout", status_code=204, summary="Sign out")
async def logout(
    request: Request,
    response: Response,
    state: StateDep,
    note: AuditNoteDep,
    body: RefreshToken | None = None,
    cookie: RefreshCookie = None,
    site: FetchSite = None,
) -> None:
    """Ends the session of the refresh token. Access tokens and open streams of it end within five
    seconds. Again changes nothing."""
    token = await state.sign_in.logout(_sent(body, cookie, site))
    note.committed = True
    if cookie is not None:
        response.delete_cookie(COOKIE, path=COOKIE_PATH)
    if token is not None:
        note.link = token.tenant, user_actor(token.user)
        note.object_id = token.session


@router.post(
    "/password",
    status_code=204,
    summary="Change one's own password",
    dependencies=[needs(Permission.PASSWORD_CHANGE)],
)
async def change_password(
    body: PasswordChange,
    request: Request,
    principal: PrincipalDep,
    user: UserDep,
    state: StateDep,
    note: AuditNoteDep,
) -> None:
    """Of the user who has signed in. The user's other sessions end; this one goes on. Some wrong
    ones in a row are followed by 429."""
    if user is None or principal.tenant is None or principal.session is None:
        raise ForbiddenError("A key has no password.", hint="Sign in: POST /v1/auth/login.")
    note.object_id = user.id
    note.details["fields"] = ["password"]
    await state.sign_in.change_password(
        principal.tenant,
        user,
        principal.session,
        body.current,
        body.new,
        client_address(request.scope),
    )
    note.committed = True


def _sent(body: RefreshToken | None, cookie: str | None, site: str | None) -> str:
    """The refresh token of a request.

    Raises:
        UnauthorizedError: there is none.
        ForbiddenError: a page of another site sent the cookie.
    """
    if body is not None and body.refresh_token is not None:
        return body.refresh_token.get_secret_value()
    if not cookie:
        raise UnauthorizedError(
            "There is no refresh token.", hint="Send the cookie, or `refresh_token`."
        )
    # SameSite keeps the cookie from other sites; this, where a browser does not obey.
    if site not in (None, "same-origin", "none"):
        raise ForbiddenError("Another site sent this request.")
    return cookie


def _answer(tokens: Tokens, request: Request, response: Response, state: ApiState) -> TokenAnswer:
    browser = tokens.token.client == "browser"
    if browser:
        set_cookies(tokens, request, response, state)
    return TokenAnswer(
        access_token=tokens.access,
        expires_in=tokens.expires_in_s,
        refresh_token=None if browser else tokens.refresh,
    )


def set_cookies(tokens: Tokens, request: Request, response: Response, state: ApiState) -> None:
    """Give a browser its refresh token, and make it known after a sign-in."""
    cookies = {COOKIE: (tokens.refresh, tokens.session_s)}
    if tokens.device is not None:
        cookies[DEVICE_COOKIE] = tokens.device, DEVICE_TTL_S
    https = state.deps.settings.api_url.startswith("https://")
    for name, (value, max_age_s) in cookies.items():
        response.set_cookie(
            name,
            value,
            max_age=max_age_s,
            path=COOKIE_PATH,
            httponly=True,
            secure=https or request.url.scheme == "https",
            samesite="strict",
        )
