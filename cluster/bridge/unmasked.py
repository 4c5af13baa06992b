"""A masked camera's second room: its video without the masks, for those who may see below them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from cluster.bridge.room import RoomPublisher, TrackSink
from cluster.bridge.units import AccessUnit
from cluster.core.backoff import Backoff
from cluster.core.log import get_logger
from cluster.core.names import MAIN_TRACK
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey

log = get_logger("bridge.unmasked")


class UnmaskedRoom:
    """Waits in the room, and publishes only while somebody is there. Made and closed on the loop.

    A room of its own, because a token is for a room: whoever has none for this one cannot get a
    frame of it, whatever happens between LiveKit and the tracks of the other.
    """

    def __init__(
        self,
        livekit: LiveKitSettings,
        key: CameraKey,
        backoff: Backoff,
        arrived: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = RoomPublisher(livekit, key, backoff, arrived, key.unmasked_room)
        self._sink = TrackSink(MAIN_TRACK)
        self._size: tuple[int, int] | None = None

    def start(self) -> None:
        self._room.start()

    @property
    def participants(self) -> dict[str, str]:
        """As `RoomPublisher.participants`."""
        return self._room.participants

    async def aclose(self) -> None:
        """Leave the room. Safe to call twice."""
        await self._room.aclose()

    # ------------------------------------------------------------ for the pump's thread

    @property
    def watched(self) -> bool:
        """Whether somebody is there, so that frames are wanted."""
        return self._room.watched

    def key_frame_requested(self) -> bool:
        """See `TrackSink.key_frame_requested`."""
        return self._sink.key_frame_requested()

    def push(self, unit: AccessUnit) -> None:
        """Hand one access unit to the room. Never blocks: until the track is published, which the
        first unit and each of another size ask for, units are dropped."""
        size = (unit.width, unit.height)
        if size != self._size:
            self._size = size
            opening = self._room.open_track(self._sink, size)
            future = asyncio.run_coroutine_threadsafe(opening, self._loop)
            future.add_done_callback(self._opened)
        if self._sink.size == size:
            self._sink.push(unit)

    def _opened(self, opening: Future[None]) -> None:
        error = None if opening.cancelled() else opening.exception()
        if error is not None:
            self._size = None  # the next unit asks again
            log.warning("unmasked track not published", reason=str(error))
