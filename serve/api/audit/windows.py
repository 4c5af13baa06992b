"""What keeps the log from being filled by repetition: once per minute, or counted per minute."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from cluster.stores.audit.events import AuditAction, AuditEvent, AuditOutcome
from pipelines.clock import Clock

WINDOW_S = 60.0

SEVERAL = "several"
"""Actor of what is counted together because there are too many."""

# Each key takes 0.2 kB, whatever it stands for. Beyond this one is forgotten, which only logs it
# once more: the oldest of its chain or, where all chains together have too many, of the longest.
MAX_KEYS = 16_384
MAX_KEYS_OF_CHAIN = 4_096
_DIGEST_BYTES = 16

# Refused requests of one actor that are logged one by one within a minute, per action. A person who
# mistypes makes fewer; whoever tries ids makes thousands.
MAX_REFUSED = 20

# Actors and actions of one chain that are counted apart; the rest is counted by action.
MAX_FLOODS_OF_CHAIN = 256

# Addresses that are counted by themselves within a minute; the rest is counted together.
MAX_ADDRESSES = 500

# Ids of keys that one entry names.
MAX_KEY_IDS = 8


class OncePerWindow:
    """Tells whether something is the first of its kind within a minute of that first one.

    No chain can push out the keys of a shorter one.

    Args:
        size: keys of all chains together; `size_of_chain`: of each of them.
    """

    def __init__(
        self, clock: Clock, *, size: int = MAX_KEYS, size_of_chain: int = MAX_KEYS_OF_CHAIN
    ) -> None:
        self._clock = clock
        self._size = size
        self._size_of_chain = size_of_chain
        self._chains: dict[str, OrderedDict[bytes, float]] = {}
        """By digest: when the window ends. The soonest is first."""
        self._count = 0

    def __len__(self) -> int:
        """How many keys are remembered."""
        return self._count

    def first(self, key: tuple[str, str]) -> bool:
        """True for the first one, which opens the window. `key`: a chain, and what is in it."""
        chain, said = key
        digest = blake2b(said.encode(), digest_size=_DIGEST_BYTES).digest()
        now = self._clock.monotonic()
        self._forget_past(chain, now)
        known = self._chains.setdefault(chain, OrderedDict())
        if digest in known:
            return False
        self._make_room(known)
        known[digest] = now + WINDOW_S
        self._count += 1
        return True

    def _forget_past(self, chain: str, now: float) -> None:
        known = self._chains.get(chain, OrderedDict())
        while known and next(iter(known.values())) <= now:
            self._forget_oldest(known)

    def _make_room(self, known: OrderedDict[bytes, float]) -> None:
        """For one more key of the chain `known`."""
        if len(known) >= self._size_of_chain:
            self._forget_oldest(known)
        if self._count < self._size:
            return
        now = self._clock.monotonic()
        for chain, others in list(self._chains.items()):
            self._forget_past(chain, now)
            if not others and others is not known:
                del self._chains[chain]
        if self._count >= self._size:
            self._forget_oldest(max(self._chains.values(), key=len))

    def _forget_oldest(self, known: OrderedDict[bytes, float]) -> None:
        known.popitem(last=False)
        self._count -= 1


@dataclass(slots=True)
class _Flood:
    """Refused requests of one minute: those that were logged, and those that are counted."""

    ends: float
    logged: int = 0
    surplus: AuditEvent | None = None
    """The first that was not logged."""
    reasons: Counter[str] = field(default_factory=Counter)
    several: bool = False
    """Whether they came from more than one address."""


class RefusedRequests:
    """Keeps whoever tries ids, or anything else that is refused, from filling a chain: of one actor
    and action the first `max_logged` of a minute are logged one by one, and the rest is counted
    into one event when the minute is over."""

    def __init__(
        self,
        clock: Clock,
        *,
        max_logged: int = MAX_REFUSED,
        max_floods: int = MAX_FLOODS_OF_CHAIN,
    ) -> None:
        self._clock = clock
        self._max_logged = max_logged
        self._max_floods = max_floods
        self._chains: dict[str, dict[tuple[str, AuditAction], _Flood]] = {}

    def admit(self, chain: str, event: AuditEvent) -> bool:
        """Whether to log a refused request by itself. Otherwise it was counted."""
        floods = self._chains.setdefault(chain, {})
        key = event.actor, event.action
        if key not in floods and len(floods) >= self._max_floods:
            key = SEVERAL, event.action
        now = self._clock.monotonic()
        flood = floods.setdefault(key, _Flood(now + WINDOW_S))
        if flood.ends <= now and flood.surplus is None:
            flood = floods[key] = _Flood(now + WINDOW_S)
        if flood.logged < self._max_logged:
            flood.logged += 1
            return True
        if flood.surplus is None:
            flood.surplus = event
        flood.several |= flood.surplus.address != event.address
        # The status, without its words.
        flood.reasons[(event.reason or "").partition(" ")[0]] += 1
        return False

    def due(self) -> list[tuple[str, AuditEvent]]:
        """Chain and event of each minute that is over and had too many; call it every few
        seconds."""
        return self._told(self._clock.monotonic())

    def all(self) -> list[tuple[str, AuditEvent]]:
        """The same of all minutes, over or not: at the end."""
        return self._told(math.inf)

    def _told(self, until: float) -> list[tuple[str, AuditEvent]]:
        told: list[tuple[str, AuditEvent]] = []
        for chain, floods in list(self._chains.items()):
            over = [(key, flood) for key, flood in floods.items() if flood.ends <= until]
            for key, flood in over:
                del floods[key]
                if flood.surplus is not None:
                    told.append((chain, self._event(key[0], flood, flood.surplus)))
            if not floods:
                del self._chains[chain]
        return told

    def _event(self, actor: str, flood: _Flood, first: AuditEvent) -> AuditEvent:
        return AuditEvent(
            at_us=self._clock.now_us(),
            actor=actor,
            action=first.action,
            object_kind=first.object_kind,
            address=None if flood.several else first.address,
            outcome=AuditOutcome.REFUSED,
            reason=", ".join(sorted(flood.reasons)),
            details={"count": flood.reasons.total(), **dict(sorted(flood.reasons.items()))},
        )


class Refusal(StrEnum):
    """Why a credential was refused."""

    MISSING = "missing"
    WRONG = "wrong"
    BLOCKED = "blocked"
    LINK = "link"
    SESSION = "session"


@dataclass(slots=True)
class _Window:
    ends: float
    counts: Counter[str] = field(default_factory=Counter)
    key_ids: dict[str, None] = field(default_factory=dict)


class Refusals:
    """Refused credentials: one event per address and minute, made when the minute is over."""

    def __init__(self, clock: Clock, *, max_addresses: int = MAX_ADDRESSES) -> None:
        self._clock = clock
        self._max_addresses = max_addresses
        self._windows: dict[str | None, _Window] = {}

    def add(self, address: str | None, cause: Refusal, key_id: str | None = None) -> None:
        """Count one. `key_id`: the public part of a key, where what was sent has the form of one.

        None stands for unknown addresses, and for those beyond `max_addresses`.
        """
        if address not in self._windows and len(self._windows) >= self._max_addresses:
            address = None
        ends = self._clock.monotonic() + WINDOW_S
        window = self._windows.setdefault(address, _Window(ends))
        window.counts[cause] += 1
        if key_id is not None and len(window.key_ids) < MAX_KEY_IDS:
            window.key_ids[key_id] = None

    def due(self) -> Iterator[AuditEvent]:
        """The events of the minutes that are over, which are then forgotten."""
        now = self._clock.monotonic()
        over = [address for address, window in self._windows.items() if window.ends <= now]
        return self._events(over)

    def all(self) -> Iterator[AuditEvent]:
        """The events of all minutes, over or not: at the end."""
        return self._events(list(self._windows))

    def _events(self, addresses: list[str | None]) -> Iterator[AuditEvent]:
        for address in addresses:
            window = self._windows.pop(address)
            yield AuditEvent(
                at_us=self._clock.now_us(),
                actor="unknown",
                action=AuditAction.CREDENTIAL_REFUSED,
                object_kind="key",
                address=address,
                outcome=AuditOutcome.REFUSED,
                reason=", ".join(sorted(window.counts)),
                details={
                    "count": window.counts.total(),
                    **{str(cause): count for cause, count in sorted(window.counts.items())},
                    "keys": list(window.key_ids),
                },
            )
