"""The FastAPI application; runs as a Ray Serve ingress (`serve.api.deployment`) or by uvicorn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from serve.api import (
    alarms,
    analytics,
    anonymisation,
    auth_routes,
    cameras,
    clips,
    coverage,
    detect,
    erasures,
    groups,
    health,
    jobs,
    join,
    keys,
    media,
    model,
    objects,
    platform,
    recordings,
    retention,
    rules,
    search,
    users,
)
from serve.api.audit import routes as audit
from serve.api.audit.middleware import AuditRequests
from serve.api.auth import Authenticator, RequireKey
from serve.api.dashboard import install_dashboard
from serve.api.metrics import Measure
from serve.api.middleware import (
    MULTIPART_OVERHEAD,
    CheckHost,
    LimitBody,
    LimitHead,
    SecurityHeaders,
)
from serve.api.oidc import routes as oidc
from serve.api.oidc.browser_session import add_sign_in_session
from serve.api.openapi import DESCRIPTION, TAGS, install_openapi
from serve.api.pace import EndSlowClients
from serve.api.permissions import PermissionFirst
from serve.api.ports import Deps
from serve.api.problems import LastResort, install_handlers
from serve.api.quotas import routes as quotas
from serve.api.quotas.middleware import ChargeRequests
from serve.api.state import ApiState, install_state
from serve.api.strangers import LimitStrangers
from serve.api.tracing import TraceRequests
from serve.dashboard import STATIC_DIR, content_security_policy

ROUTERS = (
    health,
    cameras,
    join,
    model,
    rules,
    alarms,
    clips,
    recordings,
    media,
    detect,
    search,
    objects,
    analytics,
    coverage,
    jobs,
    retention,
    erasures,
    anonymisation,
    platform,
    auth_routes,
    oidc,
    users,
    keys,
    groups,
    audit,
    quotas,
)


def package_version() -> str:
    try:
        return version("atalaia")
    except PackageNotFoundError:
        return "0"


def create_app(
    deps: Deps, *, authenticator: Authenticator | None = None, static: Path = STATIC_DIR
) -> FastAPI:
    """The whole HTTP API over `deps`.

    Args:
        deps: what it talks to; the caller closes it after the application has stopped.
        authenticator: another one than the usual, for tests of its limits.
        static: folder of the built dashboard.
    """
    state = ApiState.over(deps, authenticator)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield
        await state.aclose()

    app = FastAPI(
        title="Atalaia",
        version=package_version(),
        summary="Cameras, alarms and memory of a watchtower.",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        # `install_dashboard` serves /docs, without FastAPI's links to foreign hosts.
        docs_url=None,
        redoc_url=None,
        # A redirect would be built from the Host header; /v1/cameras/ is simply not there.
        redirect_slashes=False,
        lifespan=lifespan,
    )
    install_state(app, state)
    routes = [route for module in ROUTERS for route in module.router.routes]
    install_handlers(app, [route for route in routes if isinstance(route, Route)])
    for module in ROUTERS:
        app.include_router(module.router)
    install_openapi(app, routes)
    install_dashboard(app, static)
    _add_middleware(app, state, [route for route in routes if isinstance(route, APIRoute)])
    return app


def _add_middleware(app: FastAPI, state: ApiState, routes: Sequence[APIRoute]) -> None:
    settings = state.deps.settings
    max_upload_bytes = settings.api.max_upload_mb * 1024 * 1024
    # The last one added is the outermost.
    if settings.auth.providers:
        add_sign_in_session(app, settings)
    app.add_middleware(PermissionFirst, routes=routes)
    app.add_middleware(
        ChargeRequests, quotas=state.quotas, max_upload_bytes=max_upload_bytes + MULTIPART_OVERHEAD
    )
    app.add_middleware(
        RequireKey,
        authenticator=state.authenticator,
        refused=state.auditor.refuse,
        holding=state.holding,
        clock=state.deps.clock,
    )
    app.add_middleware(LimitStrangers, sign_in=state.sign_in)
    app.add_middleware(
        EndSlowClients,
        clock=state.deps.clock,
        metrics=state.metrics,
        grace_s=settings.api.slow_client_s,
        bytes_per_s=settings.api.slow_client_kb_per_s * 1024,
    )
    app.add_middleware(LimitBody, max_upload_bytes=max_upload_bytes)
    app.add_middleware(CheckHost, url=settings.api_url, names=settings.api.allowed_hosts)
    app.add_middleware(LimitHead)
    app.add_middleware(LastResort)
    app.add_middleware(AuditRequests, auditor=state.auditor)
    app.add_middleware(Measure, metrics=state.metrics, clock=state.deps.clock)
    page_policy = content_security_policy(settings.livekit.browser_url)
    https = settings.api_url.startswith("https://")
    app.add_middleware(SecurityHeaders, page_policy=page_policy, https=https)
    proxies = [str(network) for network in settings.api.trusted_proxies]
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    app.add_middleware(TraceRequests)
