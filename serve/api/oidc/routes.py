"""`/v1/auth/providers` and `/v1/auth/oidc`: users sign in at their tenant's identity provider.

Only browsers do. They come back with a session, whose refresh token is a cookie, or with the reason
why not in the page's address.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from cluster.core.log import get_logger
from cluster.stores.audit.events import AuditAction, AuditEvent, AuditOutcome
from cluster.stores.db.types import user_actor
from pipelines.domain import Slug
from pipelines.errors import AtalaiaError, ConflictError, NotFoundError
from serve.api.audit.windows import Refusal
from serve.api.auth import client_address, peer
from serve.api.auth_routes import set_cookies
from serve.api.fields import ResponseBody
from serve.api.oidc.flow import Failure, OidcError, OidcFlow
from serve.api.problems import UnauthorizedError, responses
from serve.api.sign_in import Tokens
from serve.api.state import ApiState, StateDep

router = APIRouter(prefix="/v1/auth", tags=["auth"], responses=responses(422, 429, 503))

Provider = Annotated[Slug, Path(description="Name of the provider.")]

log = get_logger("oidc")


class ProviderView(ResponseBody):
    name: str
    title: str = Field(description="For a button.")
    url: str = Field(description="Where a browser goes to sign in; relative to the API.")


class ProviderList(ResponseBody):
    providers: list[ProviderView]


@router.get("/providers", summary="Identity providers of a tenant")
async def list_providers(
    state: StateDep, tenant: Annotated[Slug, Query(description="Short name of the tenant.")]
) -> ProviderList:
    """Empty where there is none, or no such tenant."""
    return ProviderList(
        providers=[
            ProviderView(
                name=flow.name,
                title=flow.provider.title,
                url=f"/v1/auth/oidc/{flow.name}/start",
            )
            for flow in state.oidc.of_tenant(tenant)
        ]
    )


@router.get(
    "/oidc/{provider}/start",
    summary="Sign in at an identity provider",
    status_code=302,
    response_class=RedirectResponse,
    responses=responses(404),
)
async def start(provider: Provider, request: Request, state: StateDep) -> Response:
    """For a browser to open. It comes back to `…/callback`, and from there to the page; where the
    provider cannot be reached, at once."""
    flow = state.oidc.flow(provider)
    try:
        return await flow.redirect(request, client_address(request.scope))
    except (OidcError, AtalaiaError) as error:
        return _failed(flow, error)


@router.get(
    "/oidc/{provider}/callback",
    summary="Back from an identity provider",
    status_code=303,
    response_class=RedirectResponse,
    responses=responses(404),
)
async def callback(provider: Provider, request: Request, state: StateDep) -> Response:
    """Only for browsers that come from `…/start`. Leads to the page, with the tenant or, where
    nobody was signed in, the reason in the address."""
    flow = state.oidc.flow(provider)
    try:
        identity = await flow.identity(request, client_address(request.scope))
        tokens = await state.sign_in.external(flow.name, flow.provider, identity)
    except (OidcError, AtalaiaError) as error:
        state.auditor.refuse(peer(request.scope), Refusal.SESSION)
        return _failed(flow, error)
    _log(state, flow, tokens, peer(request.scope))
    response = _to_page({"signed-in": flow.provider.tenant})
    set_cookies(tokens, request, response, state)
    return response


def _failed(flow: OidcFlow, error: OidcError | AtalaiaError) -> Response:
    """Back to the page, which says why."""
    log.warning("not signed in", provider=flow.name, error=str(error))
    if isinstance(error, OidcError):
        failure = error.failure
    elif isinstance(error, ConflictError | UnauthorizedError | NotFoundError):
        failure = Failure.NOT_ALLOWED
    else:
        failure = Failure.UNAVAILABLE
    return _to_page({"sign-in": failure})


def _to_page(query: dict[str, str]) -> RedirectResponse:
    return RedirectResponse(f"/?{urlencode(query)}", status_code=303)


def _log(state: ApiState, flow: OidcFlow, tokens: Tokens, address: str | None) -> None:
    event = AuditEvent(
        at_us=state.deps.clock.now_us(),
        actor=user_actor(tokens.token.user),
        action=AuditAction.SESSION_BEGIN,
        object_kind="session",
        object_id=tokens.token.session,
        address=address,
        outcome=AuditOutcome.DONE,
        details={"client": "browser", "provider": flow.name},
    )
    state.auditor.record(event, (flow.provider.tenant,), once=False)
