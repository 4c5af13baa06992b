"""Reuses the servers and bridge of the bridge tests."""

from __future__ import annotations

from tests.integration.bridge.conftest import bridge, clip, night_clip, servers

__all__ = ["bridge", "clip", "night_clip", "servers"]
