"""One file of a recording: access units in, fragmented MP4 out, nothing encoded again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream

from cluster.recording.sound import NO_SOUND, SoundPlan, SoundUnit, encoder_of, require_possible
from cluster.recording.tags import NO_TAGS, Tags
from pipelines.errors import InputError, UnavailableError

# Capture times are microseconds, and the names of tracks are made from them: in a coarser clock a
# recording would give other names than the live picture gave. 32 bits of a microsecond are 71
# minutes between two frames, and the start of a fragment has 64.
TIME_BASE = Fraction(1, 1_000_000)
# A fragment ends before each key frame, and after this long within a long group of pictures: that
# much, at most, is lost with a process that is killed.
FRAGMENT_US = 2_000_000
CODECS = ("h264", "hevc")
_OPTIONS = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "video_track_timescale": str(TIME_BASE.denominator),
    "frag_duration": str(FRAGMENT_US),
    "flush_packets": "1",
    # A camera whose sound stops must not keep its pictures in the muxer.
    "max_interleave_delta": "1000000",
    "avoid_negative_ts": "disabled",
}


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What the muxer has to know before the first picture. `codec`: h264 or hevc; source pixels;
    `sound`: what lies beside the pictures."""

    codec: str
    width: int
    height: int
    sound: SoundPlan = NO_SOUND


@dataclass(frozen=True, slots=True)
class VideoUnit:
    """One encoded picture of a recording.

    Attributes:
        data: as the camera sent it, Annex B; a key frame carries its parameter sets.
        key_frame: whether a player can start here.
        capture_us: when it is shown, UTC microseconds.
        decode_us: when it is decoded, on the same scale: not after `capture_us`, and rising from
            unit to unit. The same as `capture_us` where the camera sends no B-frames.
    """

    data: bytes
    key_frame: bool
    capture_us: int
    decode_us: int


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A finished file.

    Attributes:
        origin_us: time 0 of the file, UTC microseconds: when its first picture is decoded. Capture
            times are this plus the times in the file, to the microsecond.
        start_us: capture time of its first picture.
        end_us: when its last picture ends, taken to last as long as the one before it.
        sha256: of the whole file, hexadecimal.
        audio: codec of its sound, None where it has none.
    """

    path: Path
    video: VideoFormat
    origin_us: int
    start_us: int
    end_us: int
    frames: int
    size: int
    sha256: str
    audio: str | None = None
    tags: Tags = NO_TAGS


class SegmentWriter:
    """Writes one segment. Not thread-safe.

    While it is being written the file plays up to its last complete fragment.

    Args:
        path: of the file, in a folder that exists; replaced if there.
        video: the format of every unit that will come.
        tags: what the file says of itself from its first byte on.

    Raises:
        UnavailableError: the file cannot be written.
        InputError: the muxer does not take this codec, or this sound.
    """

    def __init__(self, path: Path, video: VideoFormat, tags: Tags = NO_TAGS) -> None:
        self._path = path
        self._video = video
        self._tags = replace(tags, note=video.sound.note) if video.sound.note else tags
        self._sound: AudioStream | None = None
        self._sound_pts = -1
        self._origin_us = 0
        self._times: list[int] = []
        self._last_decode_us = 0
        if video.codec not in CODECS:
            raise InputError(f"{video.codec} cannot be recorded without encoding it again.")
        if video.sound.format is not None:
            require_possible(video.sound.format)
        with _writing(path):
            path.touch()  # the muxer would find out with the first unit
            self._container = av.open(str(path), "w", format="mp4", options=dict(_OPTIONS))
            self._container.metadata["comment"] = self._tags.encode()
            self._stream = self._container.add_mux_stream(
                video.codec, width=video.width, height=video.height, time_base=TIME_BASE
            )
            if (sound := video.sound.format) is not None:
                added = self._container.add_stream(
                    encoder_of(sound), rate=sound.rate, layout=sound.layout
                )
                assert isinstance(added, AudioStream)
                self._sound = added

    @property
    def path(self) -> Path:
        return self._path

    def write(self, unit: VideoUnit) -> None:
        """Append a picture.

        Raises:
            InputError: the first unit is no key frame, or it does not follow the one before.
            UnavailableError: the file cannot be written.
        """
        if not self._times:
            if not unit.key_frame:
                raise InputError("a segment starts with a key frame.")
            self._origin_us = unit.decode_us
        elif unit.decode_us <= self._last_decode_us:
            raise InputError("the units of a segment come in the order in which they are decoded.")
        if unit.decode_us > unit.capture_us:
            raise InputError("a picture cannot be shown before it is decoded.")
        packet = av.Packet(unit.data)
        packet.pts = unit.capture_us - self._origin_us
        packet.dts = unit.decode_us - self._origin_us
        packet.time_base = TIME_BASE
        packet.is_keyframe = unit.key_frame
        packet.stream = self._stream
        with _writing(self._path):
            self._container.mux(packet)
        self._last_decode_us = unit.decode_us
        self._times.append(unit.capture_us)

    def write_sound(self, unit: SoundUnit) -> bool:
        """Append sound; False where this file does not take it. Never in the way of a picture."""
        sound = self._video.sound.format
        if self._sound is None or sound is None or not self._times:
            return False
        pts = (unit.capture_us - self._origin_us) * sound.rate // 1_000_000
        if pts <= self._sound_pts:
            return False  # before the file's first picture, or out of order
        # The muxer would take the first sound for the beginning of time.
        packet = av.Packet(unit.data)
        packet.pts = packet.dts = pts if self._sound_pts >= 0 else 0
        packet.time_base, packet.duration = Fraction(1, sound.rate), unit.samples
        packet.stream = self._sound
        try:
            self._container.mux(packet)
        except av.error.FFmpegError:
            self._sound = None
            return False
        self._sound_pts = pts
        return True

    def abandon(self) -> None:
        """Let go of the file as it is: what is complete in it plays."""
        with suppress(OSError, av.error.FFmpegError):
            self._container.close()

    def close(self) -> SegmentFile | None:
        """Finish the file and make it last; None, and no file, where no unit came.

        Raises:
            UnavailableError: the file cannot be written.
        """
        with _writing(self._path):
            self._container.close()
            if not self._times:
                self._path.unlink()
                return None
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        times = sorted(self._times)
        sound = self._video.sound.format
        step_us = times[-1] - times[-2] if len(times) > 1 else 0
        return SegmentFile(
            path=self._path,
            video=self._video,
            tags=self._tags,
            origin_us=self._origin_us,
            start_us=times[0],
            end_us=times[-1] + step_us,
            frames=len(times),
            size=size,
            sha256=digest,
            audio=sound.codec if sound is not None and self._sound_pts >= 0 else None,
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise UnavailableError(
            f"the recording {path.name} cannot be written: {error}.",
            hint="See that the disk of data_dir is there and has room.",
        ) from error
