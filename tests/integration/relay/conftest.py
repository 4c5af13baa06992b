"""Relays, and the gateways and cameras around them."""

from __future__ import annotations

from tests.integration.media.conftest import clip, gateway, go2rtc

__all__ = ["clip", "gateway", "go2rtc"]
