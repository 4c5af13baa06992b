"""Why a stream whose packets come has no picture yet. Pure."""

from __future__ import annotations

from cluster.media import h264

PATIENCE_S = 5.0
"""Cameras send a key frame every 1 to 4 s."""
NO_KEY_FRAME = (
    "the camera sends pictures, but no key frame to begin with yet: set its key frame interval to "
    "1 to 4 s, and switch its smart codec off"
)
NO_PARAMETER_SETS = (
    "the camera sends H.264 without its parameter sets (SPS and PPS), so nothing can decode it: "
    "restart the camera, update it, or choose another stream of it"
)
UNDECODABLE = (
    "the camera sends data that cannot be decoded as {codec}: restart the camera, or set this "
    "stream to H.264"
)
UNDECODABLE_AFTER_S = 20.0
"""A key frame of another codec is not recognized here, and may be rare."""


class FirstPicture:
    """Watches what comes of a stream before it is shown.

    Args:
        codec: libav's name.
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._since_s: float | None = None
        self._has_key_frame = False

    def missing(self, data: bytes, now_s: float) -> str:
        """Take in a packet, and say what keeps the stream from being shown; empty if nothing does
        yet that is worth saying."""
        if self._since_s is None:
            self._since_s = now_s
        if self._codec != "h264":
            late = now_s - self._since_s >= UNDECODABLE_AFTER_S
            return UNDECODABLE.format(codec=self._codec) if late else ""
        self._has_key_frame = self._has_key_frame or h264.is_key_frame(data)
        if now_s - self._since_s < PATIENCE_S:
            return ""
        return NO_PARAMETER_SETS if self._has_key_frame else NO_KEY_FRAME
