"""Removes viewers from their room once their key or session has ended, or permits something else
than when they joined.

LiveKit lets a removed participant come back for as long as its token is valid, and renews that
token with each visit. So the guard does not rely on tokens that expire: it compares who is in the
rooms with the records, at each arrival and every second while somebody watches. It is part of the
bridge, which is in every room that it carries anyway: no other process has to keep a list of
viewers or announce changes, and a room without a bridge has no video.
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
"""Between two checks: many who join at once cost one query."""
AT_ONCE = 16
"""Removals under way: a key that watches many cameras ends in all of them within a second."""

AGAIN_AFTER_S = 3.0
"""LiveKit reports a departure with a delay; whoever is still listed after this is removed again."""


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
        stay: LiveKit's id of this visit.
        holder: None: the identity is none that we issued.
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
        """Somebody joined a room: check now."""
        self._wake.set()

    async def run(self) -> None:
        """Check until cancelled. Whoever could not be removed is found again by the next check."""
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
        """Check all rooms once, and remove everybody who may not stay.

        Raises:
            UnavailableError: the records cannot be read; nobody is removed.
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
        """Who watches now. Each identity is decoded once."""
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
