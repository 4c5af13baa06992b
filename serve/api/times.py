"""Times on the wire, as `pipelines.times` has them."""

from __future__ import annotations

from datetime import UTC, datetime

from pipelines.errors import InputError
from pipelines.times import rfc3339, to_us

DAY_US = 86_400 * 1_000_000
LAST_US = to_us(datetime.max.replace(tzinfo=UTC))

__all__ = ["micros", "micros_between", "rfc3339", "rfc3339_or_none", "to_us"]


def rfc3339_or_none(at_us: int | None) -> str | None:
    """The same of UTC microseconds that may be absent."""
    return None if at_us is None else rfc3339(at_us)


def micros(moment: datetime | None) -> int | None:
    """A bound that a caller gave. Nothing was captured before 1970 or after 9999, so one beyond
    means the same as that one. UTC's own 9999 ends before that of some offsets."""
    return None if moment is None else min(max(0, to_us(moment)), LAST_US)


def micros_between(
    since: datetime | None, until: datetime | None, now_us: int, longest_us: int, hint: str = ""
) -> tuple[int, int]:
    """The time that a caller asks for, UTC microseconds: by default the day before `until`, and
    that is now.

    Raises:
        InputError: it is empty, or longer than `longest_us`; with `hint`.
    """
    until_us, since_us = micros(until), micros(since)
    until_us = now_us if until_us is None else until_us
    since_us = max(0, until_us - DAY_US) if since_us is None else since_us
    if since_us >= until_us:
        raise InputError("`since` is not before `until`.")
    if until_us - since_us > longest_us:
        raise InputError(f"The time is longer than {longest_us // DAY_US} days.", hint=hint)
    return since_us, until_us
