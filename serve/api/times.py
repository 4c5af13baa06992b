"""Times on the wire, as `pipelines.times` has them."""

from __future__ import annotations

from datetime import datetime

from pipelines.times import rfc3339, to_us

__all__ = ["micros", "rfc3339", "to_us"]


def micros(moment: datetime | None) -> int | None:
    """A bound that a caller gave. Nothing was captured before 1970, so an earlier one means the
    same as that one."""
    return None if moment is None else max(0, to_us(moment))
