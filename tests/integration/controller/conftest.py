"""Servers and bridge are those of the bridge's tests."""

from __future__ import annotations

from tests.integration.bridge.conftest import bridge, clip, night_clip, servers

__all__ = ["bridge", "clip", "night_clip", "servers"]
