"""Where the bridge's pump hands frames over to the recording.

The pump's thread calls it once per frame. Errors in the recording are logged and counted, and never
reach the live view.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream

from cluster.core.log import get_logger
from cluster.media import h264
from cluster.media.capture_clock import pts_seconds
from cluster.media.h265 import with_hevc_parameter_sets
from cluster.media.transcode import EncodedFrame
from cluster.recording.audio import NO_AUDIO, AudioUnit, plan
from cluster.recording.recorder import Recorder
from cluster.recording.reorder import ReorderBuffer
from cluster.recording.segment import CODECS, VideoFormat, VideoUnit

APART_US = 5_000_000
"""Audio and video timestamps of one stream differ by less, or they are unrelated."""
SILENT_US = 3_000_000
"""A stream without audio packets for this long is recorded without an audio track."""

log = get_logger("recording.tap")


class RecordingTap:
    """Turns what passes through a pump into units of a recording.

    The camera's own packets are recorded, even if the room gets a transcode. The transcode is
    recorded only if MP4 cannot hold the camera's codec (MJPEG), or if the camera has privacy masks:
    they are painted into the transcode. A recorder gets no frame with other masks than its own.

    Attributes:
        record_audio: whether to record audio.
        recorder: takes the units; None: not recording. Any thread may replace it.
        failed: frames lost to an error in the recording.
        refused: frames that were not recorded, as their masks were not the recorder's.
    """

    def __init__(self, name: str) -> None:
        self.recorder: Recorder | None = None
        self.record_audio = False
        self.failed = 0
        self.refused = 0
        self._name = name
        self._stream: VideoStream | None = None
        self._as_sent = False
        self._reorder = ReorderBuffer()
        self._decodable = False
        self._started: Recorder | None = None
        self._plan = NO_AUDIO
        # Presentation time, seconds, and capture time, microseconds, of the last frame.
        self._frame_pts_s, self._frame_capture_us = 0.0, 0
        # Offset between the clocks, and capture time of the last audio; microseconds.
        self._audio_shift_us, self._audio_us = 0, 0

    @property
    def lost(self) -> int:
        """Frames that did not reach a recorder, for whatever reason."""
        return self.failed + self.refused + self._reorder.lost

    def opened(
        self, stream: VideoStream, audio: AudioStream | None, *, transcoded: bool, masked: bool
    ) -> None:
        """The stream was opened or reopened: the next frame is a key frame."""
        with self._guarded():
            self._stream = stream
            recordable = stream.codec_context.name in CODECS
            self._as_sent = transcoded and recordable and not masked
            self._plan = plan(audio) if audio is not None else NO_AUDIO
            self._frame_pts_s, self._frame_capture_us = 0.0, 0
            self._audio_shift_us, self._audio_us = 0, 0
            self._forget()

    def video_packet(self, packet: Packet[VideoStream]) -> None:
        """A packet of the camera, while the room gets a transcode."""
        if not self._as_sent or self._stream is None:
            return
        if self.recorder is None:
            self._forget()
            return
        # The first packet of an RTSP stream may have no timestamp, and the packets after it cannot
        # be decoded without it.
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
            pts_s = pts_seconds(packet.pts, packet.time_base)
            self._reorder.push_packet(data, packet.is_keyframe, pts_s)

    def frame(self, frame: EncodedFrame, capture_us: int) -> None:
        """A frame for the room, with its capture time."""
        recorder = self.recorder
        if recorder is None or self._stream is None:
            return
        if recorder.masks != frame.masks:
            self.refused += 1
            self._started = None
            return
        with self._guarded():
            if frame.pts_s is not None:
                self._frame_pts_s, self._frame_capture_us = frame.pts_s, capture_us
            if not self._as_sent:
                unit = VideoUnit(frame.data, frame.key_frame, capture_us, capture_us)
                self._offer(recorder, unit, self._format("h264", frame.width, frame.height))
                return
            context = self._stream.codec_context
            video = self._format(context.name, context.width, context.height)
            for unit in self._reorder.present(frame.pts_s, capture_us):
                self._offer(recorder, unit, video)

    def audio_packet(self, packet: Packet[AudioStream]) -> None:
        """A packet of the camera's audio. Video and audio share a clock."""
        recorder, form = self.recorder, self._plan.format
        if recorder is None or form is None:
            return
        if not self.record_audio or not self._frame_capture_us:
            return
            return
        with self._guarded():
            pts_s = pts_seconds(packet.pts, packet.time_base)
            if pts_s is None:
                return
            naive_us = self._frame_capture_us + round((pts_s - self._frame_pts_s) * 1e6)
            if abs(naive_us + self._audio_shift_us - self._frame_capture_us) > APART_US:
                # The audio clock is unrelated to the video clock: use the arrival time instead.
                self._audio_shift_us = self._frame_capture_us - naive_us
            self._audio_us = naive_us + self._audio_shift_us
            data = bytes(packet)
            samples = len(data) if self._plan.convert else 0
            if not samples and packet.duration and packet.time_base:
                samples = round(packet.duration * packet.time_base * form.rate)
            recorder.offer_audio(AudioUnit(data, self._audio_us, samples), self._plan)

    def _format(self, codec: str, width: int, height: int) -> VideoFormat:
        """The format, with audio only while some arrives: players wait for an empty track."""
        audio = self._plan if self.record_audio else NO_AUDIO
        if audio.format is not None and self._frame_capture_us - self._audio_us > SILENT_US:
            audio = NO_AUDIO
        return VideoFormat(codec, width, height, audio)

    def _offer(self, recorder: Recorder, unit: VideoUnit, video: VideoFormat) -> None:
        """Pass a unit on. A new recorder, or one after a break, starts with a key frame."""
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
            # Boundary of the recording: its errors must not affect the live view.
            if not self.failed:
                log.exception("a frame cannot be recorded", recorder=self._name)
            self.failed += 1
            self._forget()

    def _forget(self) -> None:
        """Start over: what follows does not continue what came before."""
        self._reorder.reset()
        self._started = None
        self._decodable = False
