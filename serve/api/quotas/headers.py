"""The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cluster.core.rates import Charge, Use


def policy_field(names: Sequence[str], charges: Sequence[Charge]) -> str:
    """Each policy with its quota `q`, and its window `w` in seconds."""
    return ", ".join(
        f'"{name}";q={charge.rate.amount};w={round(charge.rate.window_s)}{_unit(name)}'
        for name, charge in zip(names, charges, strict=True)
    )


def limit_field(names: Sequence[str], charges: Sequence[Charge], uses: Sequence[Use]) -> str:
    """What remains of each policy (`r`), and after how many seconds more comes back (`t`)."""
    return ", ".join(
        f'"{name}";r={max(0, charge.rate.amount - use.used)};t={math.ceil(use.reset_s)}'
        for name, charge, use in zip(names, charges, uses, strict=True)
    )


def _unit(name: str) -> str:
    """Of a quota; requests, where nothing is said."""
    return ';qu="content-bytes"' if "bytes" in name else ""
