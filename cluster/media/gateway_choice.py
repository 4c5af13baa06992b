"""Selects the client for the configured media gateway."""

from __future__ import annotations

from cluster.core.settings import Settings
from cluster.media.gateway import MediaGateway
from cluster.media.go2rtc import Go2RtcGateway
from cluster.media.mediamtx import MediaMtxGateway


def make_gateway(settings: Settings) -> MediaGateway:
    """The client for the configured gateway.

    Raises:
        ConfigError: no secret is set.
    """
    if settings.gateway.kind == "mediamtx":
        return MediaMtxGateway(settings)
    return Go2RtcGateway(settings)
