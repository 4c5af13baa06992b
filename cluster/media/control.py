"""HTTP client for a gateway's control API, with time-outs, retries and our own errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import httpx
import stamina

from cluster.core.redaction import RedactingFilter
from cluster.core.settings import Settings
from cluster.media.sealing import GatewayKeys
from pipelines.errors import UnavailableError

# Gateways answer from memory within milliseconds; seconds mean trouble.
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 5.0
ATTEMPTS = 3
"""Per request, while the gateway cannot be reached."""

# httpx logs the URL of every request at INFO, and those contain camera URLs.
logging.getLogger("httpx").addFilter(RedactingFilter())


class GatewayControl:
    """One gateway's control API.

    All requests are idempotent, so each is tried up to three times, with jittered pauses, while the
    gateway cannot be reached.
    """

    def __init__(self, settings: Settings, keys: GatewayKeys) -> None:
        auth = None
        if keys.username:
            password = keys.password.get_secret_value() if keys.password else ""
            auth = httpx.BasicAuth(keys.username, password)
        self._kind = settings.gateway.kind
        self._api_url = settings.gateway_api_url
        socket = self._api_url.removeprefix("unix://")
        local = socket != self._api_url
        self._http = httpx.AsyncClient(
            base_url="http://gateway" if local else self._api_url,
            auth=auth,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # Gateways are on our own networks: ignore proxies from the environment.
            trust_env=False,
            transport=httpx.AsyncHTTPTransport(uds=socket) if local else None,
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
        read_timeout_s: float = READ_TIMEOUT_S,
        attempts: int = ATTEMPTS,
    ) -> httpx.Response:
        """Send one idempotent request.

        Returns:
            The response, unless its status means a login failure or exceeds 500. Gateways use 500
            for camera failures.

        Raises:
            UnavailableError: the gateway is unreachable, rejects our credentials, or fails.
        """
        timeout = httpx.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S)
        try:
            async for attempt in stamina.retry_context(
                on=httpx.TransportError,
                attempts=attempts,
                timeout=None,
                wait_max=1.0,
                wait_jitter=0.2,
            ):
                with attempt:
                    response = await self._http.request(
                        method, path, params=params, json=json, timeout=timeout
                    )
        except httpx.TransportError as error:
            raise UnavailableError(
                f"The media gateway ({self._kind}, {self._api_url}) does not answer.",
                hint="Check that it runs and that gateway.api_url is right.",
            ) from error
        if response.status_code in (401, 403):
            raise UnavailableError(
                f"The media gateway ({self._kind}) refuses our credentials.",
                hint="Check gateway.username and gateway.password.",
            )
        if response.status_code > 500:
            raise self.misbehaved(response)
        return response

    def misbehaved(self, response: httpx.Response) -> UnavailableError:
        """The error for an unexpected response of the gateway."""
        return UnavailableError(
            f"The media gateway ({self._kind}) answers {response.status_code} "
            f"to {response.request.method} {response.request.url.path}.",
            hint="See the gateway's log.",
        )

    async def aclose(self) -> None:
        await self._http.aclose()
