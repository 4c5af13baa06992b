"""The decoded frames of one track: only the newest is kept, and only analysed ones are copied.

`rtc.VideoStream` copies each frame and hands it through a queue to an event loop, and it wakes that
loop for the frames of every other stream in the process too: 16 cameras of 25 frames/s wake each
other 6,400 times a second. A watcher analyses one frame of five. So this reads the same events of
the SDK (1.1.21; `tests/integration/agents` fails if another version changes them) where they
arrive, and a frame that nobody wants costs neither a copy nor a wake-up.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable

import numpy as np
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient, FfiHandle
from livekit.rtc._proto import ffi_pb2, video_frame_pb2

from cluster.core.log import get_logger
from pipelines.clock import Clock
from pipelines.domain import FrameStamp, Polygon
from pipelines.imaging import I420
from pipelines.masking import MaskPainter
from pipelines.movement import Luma, small_luma

log = get_logger("stream")


class DecodedFrame:
    """A frame in the decoder's memory, until its planes are read. Safe from any thread.

    Attributes:
        stamp: its identity; `capture_us` and `frame_id` are 0 where the sender gave none.
        received_us: when it was decoded, UTC microseconds.
    """

    def __init__(
        self,
        buffer: video_frame_pb2.OwnedVideoBuffer,
        stamp: FrameStamp,
        received_us: int,
        painter: MaskPainter,
    ) -> None:
        self.stamp = stamp
        self.received_us = received_us
        self._buffer: video_frame_pb2.OwnedVideoBuffer | None = buffer
        # Returns the decoder's memory when this frame is released.
        self._handle = FfiHandle(buffer.handle.id)
        self._painter = painter
        self._planes: I420 | None = None
        self._lock = threading.Lock()

    @property
    def masks(self) -> tuple[Polygon, ...]:
        """Those that `planes` paints."""
        return self._painter.masks

    def planes(self) -> I420:
        """The picture with the masks painted in. Copied on the first call, the same afterwards."""
        with self._lock:
            if self._planes is None:
                self._planes = self._copied()
            return self._planes

    def small_luma(self) -> Luma:
        """Luma at the resolution of `pipelines.movement`, without masks, and without a copy of the
        whole frame where the decoder's memory can be read as it is."""
        with self._lock:
            buffer = self._buffer
            if buffer is not None and buffer.info.type == rtc.VideoBufferType.I420:
                width, height = buffer.info.width, buffer.info.height
                plane = (ctypes.c_uint8 * (width * height)).from_address(buffer.info.data_ptr)
                # The frame's lock and handle keep that memory until the small picture is made.
                return small_luma(np.ctypeslib.as_array(plane).reshape(height, width))
            if self._planes is None:
                self._planes = self._copied()
            return small_luma(self._planes.y)

    def _copied(self) -> I420:
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            raise RuntimeError("this frame could not be copied once, and its memory is gone")
        # The SDK copies, and gives the decoder's memory back itself.
        self._handle.mark_consumed()
        planes = _planes_of(rtc.VideoFrame._from_owned_info(buffer))
        self._painter.paint(planes)
        return planes


def _planes_of(frame: rtc.VideoFrame) -> I420:
    """Views of a frame's planes; any other kind of buffer than I420 is converted first."""
    if frame.type != rtc.VideoBufferType.I420:
        frame = frame.convert(rtc.VideoBufferType.I420)
    return I420.from_buffer(frame.data, frame.width, frame.height)


class FrameStream:
    """Reports every decoded frame of a track, in the thread in which the SDK reports it.

    Made on the event loop that waits for its end.

    Args:
        track: a subscribed video track.
        painter: called for each frame, so that new masks hold from the next frame on.
        on_frame: called in the SDK's thread, for every stream of the process: it must be quick.
        clock: for the time of receipt.
    """

    def __init__(
        self,
        track: rtc.Track,
        painter: Callable[[], MaskPainter],
        on_frame: Callable[[DecodedFrame], None],
        clock: Clock,
    ) -> None:
        self._painter = painter
        self._on_frame = on_frame
        self._clock = clock
        self._lock = threading.Lock()
        self._handle: FfiHandle | None = None
        self._early: list[video_frame_pb2.VideoStreamEvent] = []
        self._ended = FfiClient.instance.queue.subscribe(
            asyncio.get_running_loop(), filter_fn=self._on_event
        )
        request = ffi_pb2.FfiRequest()
        request.new_video_stream.track_handle = track._ffi_handle.handle
        request.new_video_stream.type = video_frame_pb2.VideoStreamType.VIDEO_STREAM_NATIVE
        request.new_video_stream.normalize_stride = True
        stream = FfiClient.instance.request(request).new_video_stream.stream
        with self._lock:
            self._handle = FfiHandle(stream.handle.id)
            early, self._early = self._early, []
        for event in early:
            if event.stream_handle == stream.handle.id:
                self._take(event)

    async def ended(self) -> None:
        """Wait until no frame will come any more."""
        await self._ended.get()

    def close(self) -> None:
        """Let go of the track. Safe to call twice."""
        FfiClient.instance.queue.unsubscribe(self._ended)
        if self._handle is not None:
            self._handle.dispose()

    def _on_event(self, event: ffi_pb2.FfiEvent) -> bool:
        """Whether to wake the loop: only at the end. The rest is done here and now."""
        if event.WhichOneof("message") != "video_stream_event":
            return False
        video = event.video_stream_event
        with self._lock:
            if self._handle is None:
                self._early.append(video)  # perhaps ours: the number is not known yet
                return False
            ours = video.stream_handle == self._handle.handle
        return ours and self._take(video)

    def _take(self, event: video_frame_pb2.VideoStreamEvent) -> bool:
        if not event.HasField("frame_received"):
            return event.HasField("eos")
        received = event.frame_received
        stamp = FrameStamp(
            capture_us=received.metadata.user_timestamp,
            frame_id=received.metadata.frame_id,
            width=received.buffer.info.width,
            height=received.buffer.info.height,
        )
        frame = DecodedFrame(received.buffer, stamp, self._clock.now_us(), self._painter())
        try:
            self._on_frame(frame)
        except Exception:
            # Top of the SDK's thread: whatever this frame did, the stream continues.
            log.exception("frame not taken", frame_id=stamp.frame_id)
        return False
