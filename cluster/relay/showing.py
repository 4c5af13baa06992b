"""Decodes a stream for a few seconds and says whether anything can be seen. Blocking; run in a
thread."""

from __future__ import annotations

import av
import av.error

from cluster.media.errors import CameraProblem, UnreadableCameraError, unreadable
from cluster.media.inspection import OPEN_TIMEOUT_S, READ_TIMEOUT_S
from cluster.media.planes import planes_of
from pipelines.clock import Clock, SystemClock
from pipelines.domain import PictureFault
from pipelines.sight import SightCheck, SightLimits

FIRST_PICTURE_S = 20.0
"""Until the first picture: cameras that save bits send a key frame every 10 s."""
LOOKS = 8
"""Per stream, evenly over the time; cameras that save bits repeat parts of a still picture, but
hardly all of it for seconds."""
_FROZEN_PART, _PART = 0.7, 0.5
"""Of the time, for which a suspicion must last."""


def look_at(url: str, seconds: float, clock: Clock | None = None) -> PictureFault | None:
    """What is wrong with the picture at `url`, by `pipelines.sight`; None: it shows something.

    Whether it is blurred or moved is not known in seconds: that is learnt from each camera.

    Raises:
        UnreadableCameraError: it cannot be opened or decoded.
    """
    clock = clock or SystemClock()
    after_s = dict.fromkeys(PictureFault, seconds * _PART)
    check = SightCheck(
        limits=SightLimits(after_s=after_s, frozen_unlearnt_s=seconds * _FROZEN_PART)
    )
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    try:
        with av.open(url, options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S)) as container:
            next_s = clock.monotonic()
            until_s, decoded = next_s + FIRST_PICTURE_S, False
            # By packet: packets that never decode would otherwise be read for ever.
            for packet in container.demux(video=0):
                now_s = clock.monotonic()
                for frame in packet.decode():
                    if not decoded:
                        until_s, decoded = now_s + seconds, True
                    if now_s >= next_s:
                        next_s = now_s + seconds / LOOKS
                        luma = planes_of(frame.reformat(format="yuv420p")).y
                        check.step(round(now_s * 1e6), luma)
                if now_s > until_s:
                    break
    except av.error.FFmpegError as error:
        raise unreadable(error) from error
    if not decoded:
        raise UnreadableCameraError(CameraProblem.UNSUPPORTED, "none of its pictures decodes")
    return check.fault.kind if check.fault is not None else None
