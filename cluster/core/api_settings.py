"""The sections of the settings about the API and who calls it: `api`, `auth` and `quotas`."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field, IPvAnyNetwork, SecretStr, StringConstraints

from cluster.core.oidc_settings import OidcProvider
from cluster.core.section import Port, Section
from pipelines.domain import Slug

CORES_FOR_TWO = 4
"""A replica takes 260 MB and 6 s of processor time to start; on two cores the cameras need them."""


class MetricsSettings(Section):
    """Where each replica of the API shows its metrics to Prometheus."""

    host: str = Field("127.0.0.1", description="address that the port of the metrics listens on")
    port: Port | None = Field(
        9464, description="the first port that a replica tries; none: it has no such port"
    )
    ports: Annotated[int, Field(ge=1, le=64)] = Field(
        4,
        description="how many ports from that one on a replica tries: as many as replicas run on "
        "one node, with those that replace them",
    )
    public: bool = Field(
        True, description="whether the API's own port answers GET /metrics, too, to everybody"
    )


class ApiSettings(Section):
    host: str = "127.0.0.1"
    port: Port = 8000
    url: str | None = Field(None, description="public base URL; default: http://host:port")
    replicas: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="processes that answer; default: 2 where the machine that deploys has four "
        "cores or more, else 1",
    )
    max_upload_mb: Annotated[int, Field(ge=1, le=200)] = 20
    max_image_megapixels: Annotated[float, Field(gt=0, le=200)] = 40.0
    image_memory_mb: Annotated[int, Field(ge=32, le=65_536)] = Field(
        640,
        description="memory in which one replica decodes images, all together; further ones wait, "
        "and one that needs more than all of it is refused. 40 megapixels take 170 to 570 MB by "
        "their kind, so the default takes any of them, or two JPEGs",
    )
    slow_client_s: Annotated[float, Field(ge=0.01, le=3600)] = Field(
        30.0, description="how long a client may neither take of an answer nor send of a body"
    )
    slow_client_kb_per_s: Annotated[float, Field(gt=0, le=100_000)] = Field(
        32.0, description="the rate below which a client counts as doing nothing"
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        (),
        description="addresses of the proxies in front of the API, such as 10.0.3.7/32; the "
        "caller's address is taken from their X-Forwarded-For, and from nobody else's. Never a "
        "network that also holds clients: each of them could name any address as its own",
    )
    allowed_hosts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=253)], ...] = (
        Field(
            (),
            description="names by which the API may be reached besides that in url, localhost and "
            "IP addresses; *: any. Others are refused, because a stranger's page may use them",
        )
    )
    join_token_ttl_s: Annotated[int, Field(ge=60, le=86_400)] = Field(
        300,
        description="how long a token to watch a camera may begin a session; sessions go on, and "
        "LiveKit gives them new tokens of ten minutes",
    )
    media_secret: SecretStr | None = Field(
        None,
        description="signs links to clips and recordings, at least 32 characters, the same for "
        "every replica; default: derived from livekit.api_secret",
    )
    metrics: MetricsSettings = MetricsSettings()
    media_url_ttl_s: Annotated[int, Field(ge=10, le=86_400)] = Field(
        300, description="how long a signed link works"
    )
    export_max_s: Annotated[int, Field(ge=10, le=86_400)] = Field(
        3600, description="the longest range that one export may have"
    )
    max_exports: Annotated[int, Field(ge=1, le=64)] = Field(
        8,
        description="exports that one replica makes and sends at once, of all tenants; more are "
        "refused. What one tenant may have of them is in quotas.exports",
    )

    @property
    def replica_count(self) -> int:
        return self.replicas or (2 if (os.cpu_count() or 1) >= CORES_FOR_TWO else 1)


class AuthSettings(Section):
    """Users who sign in."""

    keys: tuple[SecretStr, ...] = Field(
        (),
        description="sign access and refresh tokens, at least 32 characters each, the same for "
        "every replica; the first signs, the others are of earlier times and only verify; "
        "default: derived from livekit.api_secret",
    )
    access_token_ttl_s: Annotated[int, Field(ge=30, le=3600)] = Field(
        600, description="how long an access token works"
    )
    session_ttl_s: Annotated[int, Field(ge=600, le=90 * 86_400)] = Field(
        14 * 86_400, description="after this a user signs in again"
    )
    providers: dict[Slug, OidcProvider] = Field(
        default_factory=dict,
        description="identity providers (OpenID Connect) through which users sign in, by name",
    )


Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


class QuotaSettings(Section):
    """What each tenant may use. Rates are per minute, through all replicas of the API together."""

    requests_per_minute: Count = 12_000
    detect_per_minute: Count = Field(3_000, description="calls of /v1/detect")
    search_per_minute: Count = Field(1_200, description="calls of /v1/search")
    upload_mb_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        6_000, description="of pictures sent to either"
    )
    key_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="what one key may use of each rate of its tenant"
    )
    concurrent_requests: Count = Field(
        300, description="at once through one replica, event streams among them"
    )
    event_streams: Count = Field(100, description="at once through one replica")
    exports: Count = Field(2, description="made or sent at once by one replica")
    clips: Count = Field(4, description="being made at once by one replica; others are pending")
    cameras: Count = 1_000
    rules: Count = Field(10_000, description="of all cameras together")
    rules_per_camera: Count = 100
    analysed_frames_per_second: Count = Field(
        30_000,
        description="of all enabled cameras together; above it each is analysed more slowly. Jobs "
        "have as many besides. The default is what a thousand cameras can have",
    )
    storage_mb: Count = Field(
        1_000_000_000,
        description="of recordings and all other files; above it the tenant's own oldest "
        "recordings go, and what would make files is refused",
    )

    @property
    def storage_bytes(self) -> int:
        return self.storage_mb * 1024 * 1024
