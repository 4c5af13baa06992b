"""Where the bridge's pull hands over what is to be recorded.

Called by the pump's thread, once per picture. Whatever goes wrong in here is this side's trouble:
it is logged and counted, and the room gets its picture all the same.
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
from cluster.media.transcode import EncodedPicture
from cluster.recording.recorder import Recorder
from cluster.recording.reorder import SentPictures
from cluster.recording.segment import CODECS, VideoFormat, VideoUnit
from cluster.recording.sound import NO_SOUND, SoundUnit, plan

APART_US = 5_000_000
"""Sound and picture of one stream lie closer together, or have nothing to do with each other."""
SILENT_US = 3_000_000
"""Sound that did not come for this long is not there."""

log = get_logger("recording.tap")


class RecordingTap:
    """Makes units of a recording from what flows through a pump.

    What the camera sent is recorded, also where the room gets a transcode of it. Where a file could
    not hold what the camera sent (MJPEG), the transcode is.

    Attributes:
        audio: whether sound is recorded.
        recorder: who takes the units, None for nobody. May be replaced by any thread.
        failed: pictures that were lost to an error in here.
    """

    def __init__(self, name: str) -> None:
        self.recorder: Recorder | None = None
        self.audio = False
        self.failed = 0
        self._name = name
        self._stream: VideoStream | None = None
        self._as_sent = False
        self._sent = SentPictures()
        self._decodable = False
        self._started: Recorder | None = None
        self._plan = NO_SOUND
        self._picture_s, self._picture_us = 0.0, 0  # presentation and capture of the last picture
        self._sound_shift_us, self._sound_us = 0, 0  # the latter: capture of the last sound

    @property
    def lost(self) -> int:
        """Pictures that could not be handed over, by whatever cause."""
        return self.failed + self._sent.lost

    def opened(self, stream: VideoStream, sound: AudioStream | None, *, transcoded: bool) -> None:
        """The stream was opened, or opened again: what follows begins with a key frame."""
        with self._guarded():
            self._stream = stream
            self._as_sent = transcoded and stream.codec_context.name in CODECS
            self._plan = plan(sound) if sound is not None else NO_SOUND
            self._picture_s, self._picture_us = 0.0, 0
            self._sound_shift_us, self._sound_us = 0, 0
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
            if picture.pts_s is not None:
                self._picture_s, self._picture_us = picture.pts_s, capture_us
            if not self._as_sent:
                unit = VideoUnit(picture.data, picture.key_frame, capture_us, capture_us)
                self._offer(recorder, unit, self._format("h264", picture.width, picture.height))
                return
            context = self._stream.codec_context
            video = self._format(context.name, context.width, context.height)
            for unit in self._sent.shown(picture.pts_s, capture_us):
                self._offer(recorder, unit, video)

    def sound(self, packet: Packet[AudioStream]) -> None:
        """A packet of the camera's sound. Its clock is that of the pictures."""
        recorder, form = self.recorder, self._plan.format
        if recorder is None or not self.audio or form is None or not self._picture_us:
            return
        with self._guarded():
            pts_s = pts_seconds(packet.pts, packet.time_base)
            if pts_s is None:
                return
            naive_us = self._picture_us + round((pts_s - self._picture_s) * 1e6)
            if abs(naive_us + self._sound_shift_us - self._picture_us) > APART_US:
                # The camera's sound has a time of its own: it is heard when its packet comes.
                self._sound_shift_us = self._picture_us - naive_us
            self._sound_us = naive_us + self._sound_shift_us
            data = bytes(packet)
            samples = len(data) if self._plan.convert else 0
            if not samples and packet.duration and packet.time_base:
                samples = round(packet.duration * packet.time_base * form.rate)
            recorder.offer_sound(SoundUnit(data, self._sound_us, samples), self._plan)

    def _format(self, codec: str, width: int, height: int) -> VideoFormat:
        """With sound only while some comes: players wait for a track that stays empty."""
        sound = self._plan if self.audio else NO_SOUND
        if sound.format is not None and self._picture_us - self._sound_us > SILENT_US:
            sound = NO_SOUND
        return VideoFormat(codec, width, height, sound)

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
