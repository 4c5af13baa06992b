"""What the application owns while it runs: one typed container, reached by one dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from cluster.media.viewer_ids import ViewerIds
from cluster.stores.bus import AlarmStream
from serve.api.alarm_feed import AlarmFeeds
from serve.api.announce import Announcer
from serve.api.audit.recorder import Auditor
from serve.api.auth import Authenticator
from serve.api.evidence import Evidence
from serve.api.holding import Holding
from serve.api.homes import Homes
from serve.api.images import ImageDecoder
from serve.api.metrics import Metrics
from serve.api.model_labels import ModelLabels
from serve.api.oidc.flow import OidcFlows
from serve.api.ports import Deps
from serve.api.quotas.limiter import RateLimiter
from serve.api.quotas.limits import TenantLimits, limits_of
from serve.api.quotas.quotas import Quotas
from serve.api.readiness import Readiness, standard_probes
from serve.api.sign_in import SignIn
from serve.api.turns import HeavyReads
from serve.api.uploads import UploadSlots


@dataclass(frozen=True, slots=True)
class ApiState:
    """Made once per application, before its first request. All but `deps` is closed with it."""

    deps: Deps
    metrics: Metrics
    announcer: Announcer
    decoder: ImageDecoder
    labels: ModelLabels
    uploads: UploadSlots
    heavy_reads: HeavyReads
    alarm_feeds: AlarmFeeds
    evidence: Evidence
    readiness: Readiness
    sign_in: SignIn
    oidc: OidcFlows
    authenticator: Authenticator
    holding: Holding
    auditor: Auditor
    quotas: Quotas
    viewer_ids: ViewerIds
    homes: Homes

    @classmethod
    def over(cls, deps: Deps, authenticator: Authenticator | None = None) -> ApiState:
        """The usual parts over `deps`.

        Raises:
            ConfigError: there is no secret to sign links or tokens with.
        """
        api = deps.settings.api
        metrics = Metrics(deps.replica)
        sign_in = SignIn.of(deps.settings, deps.database, deps.clock)
        homes = Homes(deps.settings, deps.database.platform())
        return cls(
            deps=deps,
            metrics=metrics,
            announcer=Announcer(deps.controller, metrics),
            decoder=ImageDecoder(
                api.max_upload_mb * 1024 * 1024,
                api.max_image_megapixels,
                api.image_memory_mb * 1024 * 1024,
            ),
            labels=ModelLabels(deps.detector, deps.clock),
            uploads=UploadSlots(),
            heavy_reads=HeavyReads(),
            alarm_feeds=AlarmFeeds(lambda tenant: AlarmStream(deps.redis, tenant), metrics),
            evidence=Evidence(deps),
            readiness=Readiness(standard_probes(deps), deps.clock),
            sign_in=sign_in,
            oidc=OidcFlows(deps.settings.auth.providers, deps.settings.api_url),
            homes=homes,
            authenticator=authenticator
            or Authenticator(deps.database.platform(), deps.clock, sign_in, homes),
            holding=Holding(deps.database.credentials(), deps.clock),
            auditor=Auditor(deps.database, deps.clock, metrics),
            quotas=Quotas(
                TenantLimits(limits_of(deps.settings), deps.database.platform(), deps.clock),
                deps.settings.quotas.key_share,
                RateLimiter(deps.redis, deps.clock, metrics),
                metrics,
            ),
            viewer_ids=ViewerIds(deps.settings.livekit.api_secret),
        )

    def start(self) -> None:
        """Begin with what runs in the background; in the event loop that serves the requests."""
        self.auditor.start()
        self.authenticator.start()

    async def aclose(self) -> None:
        """Idempotent."""
        # First, so that its deadline lies within that of the replica.
        await self.auditor.aclose()
        await self.authenticator.aclose()
        await self.holding.aclose()
        await self.sign_in.aclose()
        await self.alarm_feeds.aclose()
        await self.announcer.aclose()
        await self.decoder.aclose()
        await self.evidence.aclose()


def install_state(app: FastAPI, state: ApiState) -> None:
    app.state.api = state


def state_of(app: FastAPI) -> ApiState:
    """The only place that reads Starlette's untyped attributes."""
    state = app.state.api
    assert isinstance(state, ApiState)
    return state


async def get_state(request: Request) -> ApiState:
    return state_of(request.app)


StateDep = Annotated[ApiState, Depends(get_state)]


async def get_deps(state: StateDep) -> Deps:
    return state.deps


DepsDep = Annotated[Deps, Depends(get_deps)]
