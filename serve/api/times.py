"""Times on the wire, as `pipelines.times` has them."""

from __future__ import annotations

from datetime import UTC, datetime

from pipelines.times import rfc3339, to_us

LAST_US = to_us(datetime.max.replace(tzinfo=UTC))

__all__ = ["micros", "rfc3339", "rfc3339_or_none", "to_us"]


def rfc3339_or_none(at_us: int | None) -> str | None:
    """The same of UTC microseconds that may be absent."""
    return None if at_us is None else rfc3339(at_us)


def micros(moment: datetime | None) -> int | None:
    """A bound that a caller gave. Nothing was captured before 1970 or after 9999, so one beyond
    means the same as that one. UTC's own 9999 ends before that of some offsets."""
    return None if moment is None else min(max(0, to_us(moment)), LAST_US)
