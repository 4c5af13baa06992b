"""Who carries the picture looks who watches it: viewers whose key or session is over, or may do
something else than when they joined, are removed from their room.

LiveKit lets a participant that was removed come back for as long as its token is valid, and renews
that token with each visit. So nothing here waits for the end of a token: who is in the rooms now is
compared with the records, at each arrival and every second while somebody watches. Nothing has to
be remembered or announced, and without the bridge there is no picture that could be watched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cluster.core.holders import Credential, Holder
from cluster.core.log import get_logger
from cluster.media.viewer_ids import ViewerIds, is_viewer
from cluster.stores.db import Principal
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError, UnavailableError

log = get_logger("bridge.guard")

INTERVAL_S = 1.0
"""How often the credentials of those who watch are compared with the records."""
PAUSE_S = 0.2
"""Between two looks: many who come at once cost one query."""
AT_ONCE = 16
"""Removals under way: a key that watches many cameras ends in all of them within a second."""

AGAIN_AFTER_S = 3.0
"""A bridge hears late that somebody is gone; who is still there after so long is removed again."""


class GuardedRoom(NamedTuple):
    """A room of a camera: that for everybody, or the one without masks."""

    tenant: str
    name: str


Rooms = Callable[[], Mapping[GuardedRoom, Mapping[str, str]]]
"""The participants in each room: identity → id of this stay (LiveKit's sid)."""

Find = Callable[[Collection[Credential]], Awaitable[Mapping[Credential, Principal]]]
"""Those credentials that work, and what their holders may do. Raises UnavailableError."""


class Remover(Protocol):
    async def remove(self, room: str, identity: str) -> None:
        """End a participant's session; one that is gone already is no error.

        Raises:
            UnavailableError: LiveKit cannot be reached, or refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class Watching:
    """A viewer in a room.

    Attributes:
        stay: another one each time that somebody comes.
        holder: None: nobody knows who that is.
    """

    room: GuardedRoom
    identity: str
    stay: str
    holder: Holder | None


def may_stay(viewer: Watching, working: Mapping[Credential, Principal]) -> bool:
    """Whether a viewer's key or session still permits what it joined with."""
    holder = viewer.holder
    if holder is None or holder.credential.tenant != viewer.room.tenant:
        return False
    principal = working.get(holder.credential)
    return principal is not None and principal.still_holds(holder)


class ViewerGuard:
    """Works while `run` does, on the event loop of its bridge."""

    def __init__(
        self, ids: ViewerIds, rooms: Rooms, find: Find, remover: Remover, clock: Clock
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._rooms = rooms
        self._find = find
        self._remover = remover
        self._wake = asyncio.Event()
        self._known: dict[str, Holder | None] = {}
        self._removed: dict[str, float] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def arrived(self) -> None:
        """Somebody came into a room: look now."""
        self._wake.set()

    async def run(self) -> None:
        """Look until cancelled. What failed is repeated: who was not removed is still there."""
        while True:
            self._wake.clear()
            try:
                await self.look()
            except AtalaiaError as error:
                log.warning("viewers not checked", error=error.message)
            except Exception:  # the top of this task
                log.exception("viewers not checked")
            await asyncio.sleep(PAUSE_S)
            try:
                async with asyncio.timeout(INTERVAL_S - PAUSE_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look at all rooms once, and remove whose time is over.

        Raises:
            UnavailableError: the records are away; nobody is removed.
        """
        now_s = self._clock.monotonic()
        self._removed = {
            stay: at_s for stay, at_s in self._removed.items() if now_s - at_s < AGAIN_AFTER_S
        }
        viewers = [viewer for viewer in self._viewers() if viewer.stay not in self._removed]
        asked = {viewer.holder.credential for viewer in viewers if viewer.holder is not None}
        working = await self._find(asked) if asked else {}
        over = [viewer for viewer in viewers if not may_stay(viewer, working)]
        await asyncio.gather(*(self._remove(viewer) for viewer in over))

    def _viewers(self) -> list[Watching]:
        """Who watches now. An identity is read once, at its first look."""
        here = [
            (room, identity, stay)
            for room, people in self._rooms().items()
            for identity, stay in people.items()
            if is_viewer(identity)
        ]
        before = self._known
        self._known = {
            identity: before[identity] if identity in before else self._ids.read(identity)
            for _, identity, _ in here
        }
        return [
            Watching(room, identity, stay, self._known[identity]) for room, identity, stay in here
        ]

    async def _remove(self, viewer: Watching) -> None:
        credential = str(viewer.holder.credential) if viewer.holder is not None else "unknown"
        async with self._slots:
            try:
                await self._remover.remove(viewer.room.name, viewer.identity)
            except UnavailableError as error:
                log.warning("viewer not removed", room=viewer.room.name, error=error.message)
                return
        self._removed[viewer.stay] = self._clock.monotonic()
        log.info("viewer removed", room=viewer.room.name, credential=credential)
