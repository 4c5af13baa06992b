"""Clips for hostile cameras, encoded once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster.relay import rtsp
from tests.hostile.world import Relay, relaying
from tests.unit.cluster.media.clips import Clip, encode


@pytest.fixture(scope="session")
def clip() -> Clip:
    """A second, looping; one key frame a second, no B-frames."""
    return encode({"profile": "main"}, frames=25, gop=25, size=(160, 96))


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is called one soon, so that no test waits for it for long."""
    assert rtsp.SILENT_AFTER_S + 5 < 15, "a reason within 15 s"
    monkeypatch.setattr(rtsp, "SILENT_AFTER_S", 2.0)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with relaying() as running:
        yield running
