"""The video of a camera with privacy masks: decoded once, painted over, encoded for everybody."""

from __future__ import annotations

from collections.abc import Callable

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cluster.bridge.unmasked import UnmaskedRoom
from cluster.media.transcode import EncodedFrame, FrameDecoder, FrameEncoder, frame_rate
from pipelines.errors import UnavailableError
from pipelines.masking import MaskPainter

REASON = "its privacy masks are painted into the video, which is transcoded for that"
TOO_SLOW = "its masks cannot be painted: this machine is too slow, so nothing is shown or recorded"
NOT_DECODED = "its masks cannot be painted: the video cannot be decoded, so nothing is shown"

MAX_LAG_S = 2.0
"""Frames that are later than this are decoded and not encoded, until the transcoder has caught up.
More than most stalls of a network, after which frames come late, and are recorded."""
DRIFT = 0.001
"""Rate at which a camera's clock may be slow: ten times worse than a quartz. What is behind by more
is too slow."""
MAX_STEP_S = 5.0
"""After a larger jump of the presentation time, delays are measured anew."""
PATIENCE_S = 15.0
"""Cameras send a key frame every 12 s or are refused (`cluster.media.h264`); a stream of which
nothing could be masked for longer has failed."""


class Backlog:
    """How far behind its camera a transcoder is: by how much frames come later than the least
    delayed one. Pure; one per connection."""

    def __init__(self) -> None:
        self._base_s: float | None = None
        self._last_pts_s = self._last_s = 0.0

    def lag_s(self, pts_s: float | None, now_s: float) -> float:
        """Seconds by which a frame is late; 0 if it has no presentation time.

        Args:
            pts_s: presentation time in the source, seconds.
            now_s: monotonic seconds when it was decoded.
        """
        if pts_s is None:
            return 0.0
        delay_s, base_s = now_s - pts_s, self._base_s
        if base_s is None or not 0 <= pts_s - self._last_pts_s <= MAX_STEP_S:
            base_s = delay_s
        self._base_s = min(delay_s, base_s + DRIFT * (now_s - self._last_s))
        self._last_pts_s, self._last_s = pts_s, now_s
        return delay_s - self._base_s


class MaskedVideo:
    """Transcodes one stream for one or two rooms. Not thread-safe.

    Args:
        painter: called for each frame, so that new masks hold from the next frame on.
        unmasked: where the frames go without masks while somebody is there; None: nowhere.
        now_s: monotonic seconds when the stream was opened.
    """

    def __init__(
        self,
        stream: VideoStream,
        painter: Callable[[], MaskPainter],
        unmasked: UnmaskedRoom | None,
        now_s: float,
    ) -> None:
        self._decoder = FrameDecoder(stream)
        self._fps = frame_rate(stream)
        self._masked = FrameEncoder(self._fps, painter)
        self._unmasked: FrameEncoder | None = None
        self._room = unmasked
        self._backlog = Backlog()
        self._encoded_s = now_s
        self._decoded = False

    def request_key_frame(self) -> None:
        """Make the next masked frame a key frame, for a new viewer."""
        self._masked.request_key_frame()

    def decode(self, packet: Packet[VideoStream], now_s: float) -> list[VideoFrame]:
        """The frames that a packet completes.

        Raises:
            CameraError: this codec cannot be decoded here.
            UnavailableError: nothing could be masked for `PATIENCE_S`.
        """
        if now_s - self._encoded_s > PATIENCE_S:
            raise UnavailableError(TOO_SLOW if self._decoded else NOT_DECODED)
        frames = self._decoder.decode(packet)
        self._decoded = self._decoded or bool(frames)
        return frames

    def is_late(self, frame: VideoFrame, now_s: float) -> bool:
        """Whether to leave a frame out, so that the next ones are not even later. Call it once for
        each frame."""
        return self._backlog.lag_s(frame.time, now_s) > MAX_LAG_S

    def encode(
        self, frame: VideoFrame, now_s: float
    ) -> tuple[EncodedFrame | None, EncodedFrame | None]:
        """The frame with masks, and without where somebody is there to see it."""
        # In this order: painting changes the frame.
        bare = self._without_masks(frame)
        masked = next(self._masked.encode(frame), None)
        self._encoded_s, self._decoded = now_s, False
        return masked, bare

    def _without_masks(self, frame: VideoFrame) -> EncodedFrame | None:
        if self._room is None or not self._room.watched:
            self._unmasked = None
            return None
        if self._unmasked is None:
            self._unmasked = FrameEncoder(self._fps)
        if self._room.key_frame_requested():
            self._unmasked.request_key_frame()
        return next(self._unmasked.encode(frame), None)
