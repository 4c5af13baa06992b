"""Where the bridge's pull hands over what is to be recorded.

Called by the pump's thread, once per picture. Whatever goes wrong in here is this side's trouble:
it is logged and counted, and the room gets its picture all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from av.packet import Packet
from av.video.stream import VideoStream

from cluster.bridge.transcode import EncodedPicture
from cluster.log import get_logger
from cluster.media import h264
from cluster.media.capture_clock import pts_seconds
from cluster.media.h265 import with_hevc_parameter_sets
from cluster.recording.recorder import Recorder
from cluster.recording.segment import CODECS, VideoFormat, VideoUnit
from cluster.recording.sent import SentPictures

log = get_logger("recording.tap")


class RecordingTap:
    """Makes units of a recording from what flows through a pump.

    What the camera sent is recorded, also where the room gets a transcode of it. Where a file could
    not hold what the camera sent (MJPEG), the transcode is.

    Attributes:
        recorder: who takes the units, None for nobody. May be replaced by any thread.
        failed: pictures that were lost to an error in here.
    """

    def __init__(self, name: str) -> None:
        self.recorder: Recorder | None = None
        self.failed = 0
        self._name = name
        self._stream: VideoStream | None = None
        self._as_sent = False
        self._sent = SentPictures()
        self._decodable = False
        self._started: Recorder | None = None

    @property
    def lost(self) -> int:
        """Pictures that could not be handed over, by whatever cause."""
        return self.failed + self._sent.lost

    def opened(self, stream: VideoStream, *, transcoded: bool) -> None:
        """The stream was opened, or opened again: what follows begins with a key frame."""
        with self._guarded():
            self._stream = stream
            self._as_sent = transcoded and stream.codec_context.name in CODECS
            self._forget()

    def sent(self, packet: Packet[VideoStream]) -> None:
        """A packet of the camera, where the room gets something else than the packets."""
        if not self._as_sent or self._stream is None:
            return
        if self.recorder is None:
            self._forget()
            return
        # The first packet of an RTSP stream may have no time, and none after it can be decoded
        # without it.
        self._decodable = self._decodable or (packet.is_keyframe and packet.pts is not None)
        if not self._decodable:
            return
        with self._guarded():
            data, context = bytes(packet), self._stream.codec_context
            if packet.is_keyframe:
                extradata = bytes(context.extradata or b"")
                hevc = context.name == "hevc"
                add = with_hevc_parameter_sets if hevc else h264.with_parameter_sets
                data = add(data, extradata)
            self._sent.sent(data, packet.is_keyframe, pts_seconds(packet.pts, packet.time_base))

    def picture(self, picture: EncodedPicture, capture_us: int) -> None:
        """A picture for the room, with its capture time."""
        recorder = self.recorder
        if recorder is None or self._stream is None:
            return
        with self._guarded():
            if not self._as_sent:
                unit = VideoUnit(picture.data, picture.key_frame, capture_us, capture_us)
                self._offer(recorder, unit, VideoFormat("h264", picture.width, picture.height))
                return
            context = self._stream.codec_context
            video = VideoFormat(context.name, context.width, context.height)
            for unit in self._sent.shown(picture.pts_s, capture_us):
                self._offer(recorder, unit, video)

    def _offer(self, recorder: Recorder, unit: VideoUnit, video: VideoFormat) -> None:
        """To a recorder that is new, or after a break, only from a key frame on."""
        if recorder is not self._started:
            if not unit.key_frame:
                return
            self._started = recorder
        recorder.offer(unit, video)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            # The border of the recording: the live picture must not suffer from what is in here.
            if not self.failed:
                log.exception("a picture cannot be recorded", recorder=self._name)
            self.failed += 1
            self._forget()

    def _forget(self) -> None:
        """What comes next follows nothing that came before."""
        self._sent.reset()
        self._started = None
        self._decodable = False
