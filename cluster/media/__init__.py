"""Everything between a camera's URL and its access units: gateways, URLs, clocks, H.264."""

from cluster.media.gateway import MediaGateway, ProbeResult, StreamName, make_gateway

__all__ = ["MediaGateway", "ProbeResult", "StreamName", "make_gateway"]
