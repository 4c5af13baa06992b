"""What a gateway is told of streams: sealed names, sealed sources, and where they are pulled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from cluster.core.settings import Settings
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.gateway import StreamName
from cluster.media.sealing import GatewayKeys
from cluster.media.target import Target, relay_url, seal_target
from cluster.media.urls import CameraUrl, parse_camera_url
from pipelines.errors import UnavailableError

FAILURE_TIMEOUT_S = 2.0
"""The relay answers from its memory."""


@dataclass(frozen=True, slots=True)
class GatewaySource:
    """What a gateway pulls for a camera.

    Attributes:
        url: of the relay. A secret.
        camera: what was asked for.
    """

    url: str
    camera: CameraUrl

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]


class _RelayFailure(BaseModel):
    problem: CameraProblem
    detail: str


class GatewaySources:
    """Translates between what Atalaia and what a gateway calls streams. Close it with `aclose`."""

    def __init__(self, settings: Settings, keys: GatewayKeys) -> None:
        self._gateway = settings.gateway
        self._keys = keys
        self._relay = f"http://{urlsplit(settings.gateway.relay_url).netloc}"
        self._http = httpx.AsyncClient(
            base_url=self._relay, timeout=FAILURE_TIMEOUT_S, trust_env=False
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    # ------------------------------------------------------------ names

    def sealed_name(self, name: str) -> str:
        """What the gateway calls the stream `name`."""
        return self._keys.names.seal(name)

    def name_of(self, sealed: str) -> str | None:
        """The stream that the gateway calls `sealed`; None where it is not one of ours."""
        name = self._keys.names.open(sealed)
        return name if name is not None and StreamName.parse(name) else None

    def pull_url(self, on_gateway: str, query: str = "") -> SecretStr:
        """The gateway's RTSP URL of what it calls `on_gateway`, with its credentials."""
        base = parse_camera_url(self._gateway.rtsp_url)
        password = self._keys.password.get_secret_value() if self._keys.password else base.password
        url = replace(
            base,
            username=self._keys.username or base.username,
            password=password,
            port=base.effective_port,
            target=f"{base.target.rstrip('/')}/{on_gateway}{query}",
        )
        return SecretStr(url.encoded)

    # ------------------------------------------------------------ sources

    def of(self, url: SecretStr, tenant: str) -> GatewaySource:
        """What the gateway has to pull for a camera's URL. Raises InputError where it is none."""
        target = Target(tenant, parse_camera_url(url.get_secret_value()))
        sealed = seal_target(self._keys.sources, target)
        return GatewaySource(relay_url(self._gateway.relay_url, target, sealed), target.url)

    async def why(self, source: str) -> UnreadableCameraError | None:
        """Why the relay could not read what it was asked for as `source`; None where it could, or
        was not asked.

        Raises:
            UnavailableError: the relay does not answer.
        """
        parts = urlsplit(source)
        if parts.netloc != urlsplit(self._gateway.relay_url).netloc:
            return None
        sealed = parts.path.strip("/").partition("/")[0]
        try:
            response = await self._http.get(f"/why/{sealed}")
        except httpx.TransportError as error:
            raise UnavailableError(
                f"The camera relay ({self._relay}) does not answer.",
                hint="Check that it runs and that gateway.relay_url is right.",
            ) from error
        if response.status_code != 200:
            return None
        try:
            why = _RelayFailure.model_validate_json(response.content)
        except ValidationError as error:
            raise UnavailableError(
                "The camera relay answers what it should not.",
                hint="Check that gateway.relay_url is the relay's and of the same version.",
            ) from error
        return UnreadableCameraError(why.problem, why.detail)
