"""Whether what was given for a key or a session, and outlives the request, is still its holder's:
links to files, and answers that are being sent."""

from __future__ import annotations

from cluster.core.holders import Credential, Holder
from cluster.stores.db import Credentials, Principal
from pipelines.clock import Clock
from pipelines.errors import UnavailableError
from serve.api.key_lookup import KeyLookup
from serve.api.short_memory import ShortMemory

# A player asks for many ranges of a file, and an answer of an hour passes many times.
CACHE_TTL_S = 2.0
CACHE_SIZE = 4096


class Holding:
    """Owned by the application."""

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self._lookup = KeyLookup(credentials.principals)
        self._known: ShortMemory[Credential, Principal] = ShortMemory(
            clock, CACHE_TTL_S, CACHE_SIZE
        )

    async def holds(self, holder: Holder) -> bool:
        """Whether it is still the holder's; looked up at most every two seconds.

        Raises:
            UnavailableError: the records are away, or too many wait for them.
        """
        return await self.principal(holder) is not None

    async def principal(self, holder: Holder) -> Principal | None:
        """The holder as it is now; None: it holds no longer. As `holds`."""
        known = self._known.get(holder.credential)
        if known is not None and known.still_holds(holder):
            return known
        # What was remembered never refuses: the rights may be new, and the holder made with them.
        principal = await self._lookup.find(holder.credential)
        if principal is None:
            self._known.forget(holder.credential)
            return None
        self._known.keep(holder.credential, principal)
        return principal if principal.still_holds(holder) else None

    async def may_go_on(self, holder: Holder) -> bool:
        """The same of an answer that has begun: records that are away do not end it."""
        try:
            return await self.holds(holder)
        except UnavailableError:
            return True

    async def aclose(self) -> None:
        """Idempotent. Whoever still waits is cancelled."""
        await self._lookup.aclose()
