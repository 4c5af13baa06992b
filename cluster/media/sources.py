"""Stream names and sources as a gateway sees them: sealed, and pulled through the relay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
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
"""The relay answers from memory."""


@dataclass(frozen=True, slots=True)
class GatewaySource:
    """What a gateway pulls for a camera.

    Attributes:
        url: on the relay. A secret.
        camera: the URL of the camera itself.
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
    """Maps Atalaia's stream names to a gateway's and back. Close it with `aclose`."""

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
        """The gateway's name for the stream `name`."""
        return self._keys.names.seal(name)

    def name_of(self, sealed: str) -> str | None:
        """The stream with the gateway's name `sealed`; None if it is not one of ours."""
        name = self._keys.names.open(sealed)
        return name if name is not None and StreamName.parse(name) else None

    @cached_property
    def _base(self) -> CameraUrl:
        # Parsed once: the controller asks for the URLs of all cameras several times a second, and
        # parsing took a third of that time.
        return parse_camera_url(self._gateway.rtsp_url)

    def pull_url(self, on_gateway: str, query: str = "") -> SecretStr:
        """The gateway's RTSP URL, with credentials, of the stream it calls `on_gateway`."""
        base = self._base
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
        """The source for a camera's URL.

        Raises:
            InputError: not a camera URL.
        """
        target = Target(tenant, parse_camera_url(url.get_secret_value()))
        sealed = seal_target(self._keys.sources, target)
        return GatewaySource(relay_url(self._gateway.relay_url, target, sealed), target.url)

    async def why(self, source: str) -> UnreadableCameraError | None:
        """Why the relay could not read `source`; None if it could, or was not asked to.

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
                "The camera relay sent an unexpected response.",
                hint="Check that gateway.relay_url is the relay's and of the same version.",
            ) from error
        return UnreadableCameraError(why.problem, why.detail)
