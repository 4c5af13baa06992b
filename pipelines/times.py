"""Conversion of times: UTC microseconds internally, RFC 3339 in UTC with microseconds externally.

Never through a float, which cannot represent current times in microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(at_us: int) -> datetime:
    """UTC microseconds as an aware time in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def to_us(moment: datetime) -> int:
    """An aware time as UTC microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def rfc3339(at_us: int) -> str:
    """UTC microseconds as e.g. `2026-01-31T08:15:00.123456Z`."""
    return moment_of(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def zone_named(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        ValueError: the name is unknown or malformed.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"unknown time zone {name!r}; use a name like America/Sao_Paulo"
        ) from error
