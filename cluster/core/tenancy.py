"""What everything that is made for one tenant asks first."""

from __future__ import annotations

import re

from pipelines.domain import SLUG_PATTERN
from pipelines.errors import InputError

_SLUG = re.compile(SLUG_PATTERN)


def require_tenant(name: str) -> None:
    """Raises InputError where `name` cannot be a tenant's."""
    if not _SLUG.fullmatch(name):
        raise InputError(
            f"{name!r} is not a tenant's name.",
            hint="Use a-z, 0-9 and -, at most 40 characters, not - first.",
        )
