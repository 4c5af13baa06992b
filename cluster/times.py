"""Times on the wire are RFC 3339 in UTC with microseconds; inside they are UTC microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(at_us: int) -> str:
    """UTC microseconds as e.g. `2026-01-31T08:15:00.123456Z`."""
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def to_us(moment: datetime) -> int:
    """An aware time as UTC microseconds, exactly (a float would lose the last digits)."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
