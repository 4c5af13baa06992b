"""What `/v1/audit` shows of rows that somebody changed past the application: whatever can be shown.

That a row is none of ours, `atalaia audit verify` tells. Here it only must not hide the others.
"""

from __future__ import annotations

from typing import Any

from cluster.stores.audit.chain import quoted
from cluster.stores.audit.events import (
    MAX_DETAIL,
    MAX_DETAIL_ITEMS,
    MAX_DETAILS,
    plain,
    plain_details,
    printable,
)
from serve.api.times import rfc3339

STORED = "stored"
"""The only name in `details` where those in the row cannot be read as such."""


def shown_text(value: object, limit: int) -> str:
    """What stands in a column of texts, printable and of at most `limit` characters."""
    if isinstance(value, str):
        return str(printable(value, limit))
    return str(plain(quoted(value), limit))


def shown_time(value: object) -> str:
    """What stands in a column of UTC microseconds: RFC 3339, where it is a time."""
    if isinstance(value, int):
        try:
            return rfc3339(value)
        except OverflowError:  # beyond the year 9999, or before the first
            pass
    return shown_text(value, MAX_DETAIL)


def shown_details(stored: object) -> dict[str, Any]:
    """Details as they were logged, or else flat, redacted and cut."""
    if isinstance(stored, dict) and len(stored) <= MAX_DETAILS:
        if all(_is_text(name) and _is_ours(value) for name, value in stored.items()):
            return stored
    try:
        known = plain_details(stored)
        if isinstance(known, dict):
            return known
        return {STORED: plain(stored if isinstance(stored, str) else quoted(stored), MAX_DETAIL)}
    except RecursionError:
        return {STORED: "(nested too deeply)"}


def _is_ours(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= MAX_DETAIL_ITEMS and all(map(_is_text, value))
    return value is None or isinstance(value, int) or _is_text(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_DETAIL and value.isprintable()
