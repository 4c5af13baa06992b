"""A bounded memory that many tenants share: none pushes out what is kept for another one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")


class _Entry(NamedTuple, Generic[V]):
    tenant: str
    value: V


class FairMemory(Generic[V]):
    """Values by key. Above the limit, the tenant with the most entries loses its oldest one: with
    fewer than its equal share, a tenant loses none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, _Entry[V]] = {}
        self._ages: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> V | None:
        entry = self._entries.get(key)
        return entry.value if entry is not None else None

    def put(self, tenant: str, key: str, value: V) -> None:
        """Keep a value, as the tenant's newest."""
        self.forget(key)
        self._entries[key] = _Entry(tenant, value)
        self._ages.setdefault(tenant, OrderedDict())[key] = None
        while len(self._entries) > self._limit:
            most = max(self._ages.values(), key=len)
            self.forget(next(iter(most)))

    def forget(self, key: str) -> None:
        """Does nothing if there is no such key."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        ages = self._ages[entry.tenant]
        del ages[key]
        if not ages:
            del self._ages[entry.tenant]
