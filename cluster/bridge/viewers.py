"""The guard of a bridge's rooms with its real dependencies."""

from __future__ import annotations

import asyncio

import aiohttp
from livekit import api

from cluster.bridge.guard import Rooms, ViewerGuard
from cluster.core.settings import LiveKitSettings, Settings
from cluster.media.viewer_ids import ViewerIds
from cluster.stores.db import Database
from pipelines.clock import Clock
from pipelines.errors import UnavailableError

REQUEST_TIMEOUT_S = 3.0
"""Per request to LiveKit's API, which answers within milliseconds."""


class LiveKitRemover:
    """Owns its client of LiveKit's API."""

    def __init__(self, livekit: LiveKitSettings) -> None:
        self._api = api.LiveKitAPI(
            livekit.url,
            livekit.api_key,
            livekit.api_secret.get_secret_value(),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        )

    async def remove(self, room: str, identity: str) -> None:
        """As `Remover.remove`."""
        try:
            await self._api.room.remove_participant(
                api.RoomParticipantIdentity(room=room, identity=identity)
            )
        except api.TwirpError as error:
            if error.code != api.TwirpErrorCode.NOT_FOUND:
                raise UnavailableError(f"LiveKit removed nobody: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(f"LiveKit cannot be reached: {error}") from error

    async def aclose(self) -> None:
        await self._api.aclose()


class GuardService:
    """Created and closed by its bridge, on the bridge's event loop; works from construction on.

    Args:
        rooms: who is in the rooms of the bridge's cameras.
    """

    def __init__(self, settings: Settings, clock: Clock, rooms: Rooms) -> None:
        self._database = Database.of(settings, clock=clock)
        self._remover = LiveKitRemover(settings.livekit)
        find = self._database.credentials().principals
        ids = ViewerIds(settings.livekit.api_secret)
        self._guard = ViewerGuard(ids, rooms, find, self._remover, clock)
        self._task = asyncio.create_task(self._guard.run(), name="guard viewers")

    def arrived(self) -> None:
        """Somebody came into a room."""
        self._guard.arrived()

    async def aclose(self) -> None:
        """Idempotent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._remover.aclose()
        await self._database.aclose()
