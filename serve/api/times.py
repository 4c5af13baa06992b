"""Times on the wire, as `cluster.times` has them."""

from __future__ import annotations

from cluster.times import rfc3339, to_us

__all__ = ["rfc3339", "to_us"]
