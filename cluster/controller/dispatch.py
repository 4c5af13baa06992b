"""Dispatches watchers to rooms with LiveKit's agent dispatch API."""

from __future__ import annotations

import aiohttp
from livekit import api

from cluster.core.names import AGENT_NAME
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey
from pipelines.errors import UnavailableError

REQUEST_TIMEOUT_S = 5.0
"""Per request to LiveKit's API. A round waits for it, so it is short."""


class LiveKitDispatcher:
    """Keeps at most one explicit dispatch per room. Owns its LiveKit API client."""

    def __init__(self, livekit: LiveKitSettings) -> None:
        self._api = api.LiveKitAPI(
            livekit.url,
            livekit.api_key,
            livekit.api_secret.get_secret_value(),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        )

    async def dispatch(self, key: CameraKey) -> None:
        """Request a watcher for the camera's room, replacing any earlier dispatch.

        Raises:
            UnavailableError: LiveKit cannot be reached, or refused.
        """
        service = self._api.agent_dispatch
        try:
            for old in await service.list_dispatch(key.room):
                if old.agent_name == AGENT_NAME:
                    await service.delete_dispatch(old.id, key.room)
            await service.create_dispatch(
                api.CreateAgentDispatchRequest(agent_name=AGENT_NAME, room=key.room)
            )
        except (api.TwirpError, aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(f"LiveKit did not accept the dispatch: {error}") from error

    async def aclose(self) -> None:
        await self._api.aclose()
