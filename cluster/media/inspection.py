"""Opens a stream with libav for a second and reports its properties. Blocking; run in a thread."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from cluster.media.errors import CameraProblem, UnreadableCameraError, unreadable
from cluster.media.gateway import ProbeResult
from cluster.media.h264 import PassthroughCheck
from pipelines.clock import Clock, SystemClock

OPEN_TIMEOUT_S = 12.0
"""go2rtc needs up to 5 s to connect to the camera and 5 s for DESCRIBE."""
READ_TIMEOUT_S = 5.0
"""As `bridge.read_timeout_s` by default."""
# Long enough to see B-frames and the frame rate at 5 fps; short enough for a waiting user.
INSPECT_S = 1.2
MAX_FPS = 240.0
"""Higher announced or measured rates are errors of the stream's time base."""

# Without a limit libav analyses for 5 s if an announced stream sends nothing, and for 1.5 s for the
# frame rate alone; size and profile are in the first key frame or in the SDP.
ANALYZE_US = 300_000
# Some cameras announce neither before the next key frame, which may be seconds away.
PATIENT_ANALYZE_US = 8_000_000


def inspect_stream(
    url: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, clock: Clock | None = None
) -> ProbeResult:
    """Properties of the video at `url`.

    Raises:
        UnreadableCameraError: it cannot be opened, or sends no frame.
    """
    clock = clock or SystemClock()
    result = _inspect(url, ANALYZE_US, open_timeout_s, clock)
    if result is None:
        result = _inspect(url, PATIENT_ANALYZE_US, open_timeout_s, clock)
    if result is None:
        raise UnreadableCameraError(CameraProblem.UNSUPPORTED, "no frame size is announced")
    return result


def _inspect(url: str, analyze_us: int, open_timeout_s: float, clock: Clock) -> ProbeResult | None:
    """None if libav could not determine the frame size within `analyze_us`."""
    options = {"analyzeduration": str(analyze_us)}
    if url.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    try:
        with av.open(url, options=options, timeout=(open_timeout_s, READ_TIMEOUT_S)) as container:
            if not container.streams.video:
                raise UnreadableCameraError(CameraProblem.NO_VIDEO)
            if not container.streams.video[0].codec_context.width:
                return None
            return _inspect_container(container, clock)
    except av.error.FFmpegError as error:
        raise unreadable(error) from error


def _inspect_container(container: InputContainer, clock: Clock) -> ProbeResult:
    stream = container.streams.video[0]
    context = stream.codec_context
    check = PassthroughCheck(
        codec=context.name, extradata=context.extradata or b"", reorder_depth=context.reorder_depth
    )
    stamps = _read_packets(container, stream, check, clock)
    if not stamps:
        raise UnreadableCameraError(CameraProblem.LOST)
    return ProbeResult(
        codec=context.name,
        profile=context.profile or "",
        width=context.width,
        height=context.height,
        fps=_frame_rate(stamps, stream.average_rate),
        has_b_frames=bool(context.has_b_frames) or check.reorders,
        transcode_reason=check.reason,
    )


def _read_packets(
    container: InputContainer, stream: VideoStream, check: PassthroughCheck, clock: Clock
) -> list[float | None]:
    """PTS in seconds of the packets that arrive within INSPECT_S."""
    stamps: list[float | None] = []
    annex_b = _annex_b(stream)
    until = clock.monotonic() + INSPECT_S
    for packet in container.demux(stream):
        if packet.size == 0:
            break
        pts = None if packet.pts is None else float(packet.pts * (packet.time_base or Fraction(1)))
        check.observe(annex_b(packet), pts)
        stamps.append(pts)
        if clock.monotonic() > until:
            break
    return stamps


def _annex_b(stream: VideoStream) -> Callable[[Packet[VideoStream]], bytes]:
    """Gives the bytes of a packet as RTSP has them, where the URL was of RTMP or of HTTP."""
    if stream.codec_context.name != "h264":
        return bytes
    to_annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
    return lambda packet: b"".join(bytes(out) for out in to_annex_b.filter(packet))


def _frame_rate(stamps: list[float | None], announced: Fraction | None) -> float:
    known = sorted(pts for pts in stamps if pts is not None)
    span = known[-1] - known[0] if known else 0.0
    if span >= INSPECT_S / 2 and 0 < (len(known) - 1) / span <= MAX_FPS:
        return round((len(known) - 1) / span, 2)
    return round(float(announced), 2) if announced and announced <= MAX_FPS else 0.0
