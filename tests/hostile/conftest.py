"""Clips for hostile cameras, encoded once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.hostile.world import Relay, relaying
from tests.unit.cluster.media.clips import Clip, encode


@pytest.fixture(scope="session")
def clip() -> Clip:
    """A second, looping; one key frame a second, no B-frames."""
    return encode({"profile": "main"}, frames=25, gop=25, size=(160, 96))


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with relaying() as running:
        yield running
