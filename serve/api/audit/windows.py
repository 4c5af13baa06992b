"""What keeps the log from being filled by repetition: once per minute, or counted per minute."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.stores.audit.events import AuditAction, AuditEvent, AuditOutcome
from pipelines.clock import Clock

WINDOW_S = 60.0

# Each key takes some 0.4 kB. Beyond this the oldest is forgotten, which only logs it once more.
MAX_KEYS = 16_384

# Addresses that are counted by themselves within a minute; the rest is counted together.
MAX_ADDRESSES = 500

# Ids of keys that one entry names.
MAX_KEY_IDS = 8


class OncePerWindow:
    """Tells whether something is the first of its kind within a minute of that first one."""

    def __init__(self, clock: Clock, *, size: int = MAX_KEYS) -> None:
        self._clock = clock
        self._size = size
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def first(self, key: Hashable) -> bool:
        """True for the first one, which opens the window."""
        now = self._clock.monotonic()
        if now < self._until.get(key, now):
            return False
        self._until.pop(key, None)
        self._until[key] = now + WINDOW_S
        while len(self._until) > self._size:
            self._until.popitem(last=False)
        return True


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
