"""Validation of tenant names, shared by all tenant-specific code."""

from __future__ import annotations

import re

from pipelines.domain import SLUG_PATTERN
from pipelines.errors import InputError

_SLUG = re.compile(SLUG_PATTERN)


def is_tenant(name: str) -> bool:
    """Whether `name` can be the name of a tenant."""
    return _SLUG.fullmatch(name) is not None


def require_tenant(name: str) -> None:
    """Check that `name` is a valid tenant name.

    Raises:
        InputError: it is not.
    """
    if not is_tenant(name):
        raise InputError(
            f"{name!r} is not a tenant's name.",
            hint="Use a-z, 0-9 and -, at most 40 characters, not - first.",
        )
