"""What holds for every unit test: it leaves the process as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """The command line hands settings on through the environment; the next test must not see it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
