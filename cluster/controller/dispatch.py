"""Dispatches watchers to rooms with LiveKit's agent dispatch API."""

from __future__ import annotations

import aiohttp
from livekit import api

from cluster.core.names import AGENT_NAME, WATCHER_IDENTITY
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey
from pipelines.errors import UnavailableError

REQUEST_TIMEOUT_S = 5.0
"""Per request to LiveKit's API."""


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
        """Request a watcher for the camera's room, replacing any earlier dispatch, and any watcher
        that is still listed: no host has it.

        Raises:
            UnavailableError: LiveKit cannot be reached, or refused.
        """
        service = self._api.agent_dispatch
        try:
            await self._remove_dead(key.room)
            for old in await service.list_dispatch(key.room):
                if old.agent_name == AGENT_NAME:
                    await service.delete_dispatch(old.id, key.room)
            await service.create_dispatch(
                api.CreateAgentDispatchRequest(agent_name=AGENT_NAME, room=key.room)
            )
        except (api.TwirpError, aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(f"LiveKit did not accept the dispatch: {error}") from error

    async def _remove_dead(self, room: str) -> None:
        """LiveKit lists a participant whose process was killed for some 20 s. It knows agents by
        identity: when the dead one goes because the new one has its name, it ends the job of the
        new one (seen with 1.13.5: four of four watchers left the moment they had joined)."""
        dead = api.RoomParticipantIdentity(room=room, identity=WATCHER_IDENTITY)
        try:
            await self._api.room.remove_participant(dead)
        except api.TwirpError as error:
            if error.code != api.TwirpErrorCode.NOT_FOUND:
                raise

    async def aclose(self) -> None:
        await self._api.aclose()
