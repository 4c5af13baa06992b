"""One file of a recording: encoded frames in, fragmented MP4 out, without re-encoding."""

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

from cluster.recording.audio import NO_AUDIO, AudioPlan, AudioUnit, encoder_of, require_possible
from cluster.recording.tags import NO_TAGS, Tags
from pipelines.errors import InputError, UnavailableError

# Capture times are microseconds, and track ids are derived from them: with a coarser clock a
# recording would yield other ids than the live stream. 32 bits of microseconds allow 71 minutes
# between two frames. The start of a fragment has 64 bits.
TIME_BASE = Fraction(1, 1_000_000)
# A fragment ends before each key frame, and after this long within a long GOP. A killed process
# loses at most this much.
FRAGMENT_US = 2_000_000
# What MP4 players decode. Everything else is recorded as the room's H.264 transcode.
CODECS = ("h264", "hevc")
_OPTIONS = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "video_track_timescale": str(TIME_BASE.denominator),
    "frag_duration": str(FRAGMENT_US),
    "flush_packets": "1",
    # Audio that stops must not hold back frames in the muxer.
    "max_interleave_delta": "1000000",
    "avoid_negative_ts": "disabled",
}


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """The video format as the muxer needs it.

    Attributes:
        codec: h264 or hevc.
        width, height: source pixels.
        audio: the audio track beside the video.
    """

    codec: str
    width: int
    height: int
    audio: AudioPlan = NO_AUDIO


@dataclass(frozen=True, slots=True)
class VideoUnit:
    """One encoded frame of a recording.

    Attributes:
        data: as sent by the camera, Annex B; a key frame carries its parameter sets.
        key_frame: whether a player can start here.
        capture_us: presentation time, UTC microseconds.
        decode_us: decoding time on the same scale: at most `capture_us`, and increasing from unit
            to unit. Equals `capture_us` without B-frames.
    """

    data: bytes
    key_frame: bool
    capture_us: int
    decode_us: int


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A finished file.

    Attributes:
        origin_us: time 0 of the file, UTC microseconds: when its first frame is decoded. Capture
            time is this plus the time in the file, to the microsecond.
        start_us: capture time of its first frame, UTC microseconds.
        end_us: end of its last frame, taken to last as long as the one before it, UTC microseconds.
        size: bytes.
        sha256: of the whole file, hexadecimal.
        audio: audio codec; None without audio.
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

    While it is being written, the file plays up to its last complete fragment.

    Args:
        path: of the file, in an existing folder; an existing file is replaced.
        video: the format of every unit to come.
        tags: stored at the start of the file.

    Raises:
        UnavailableError: the file cannot be written.
        InputError: the muxer does not support this codec or this audio.
    """

    def __init__(self, path: Path, video: VideoFormat, tags: Tags = NO_TAGS) -> None:
        self._path = path
        self._video = video
        self._tags = replace(tags, note=video.audio.note) if video.audio.note else tags
        self._audio_stream: AudioStream | None = None
        self._audio_pts = -1
        self._origin_us = 0
        self._times: list[int] = []
        self._last_decode_us = 0
        if video.codec not in CODECS:
            raise InputError(f"{video.codec} cannot be recorded without re-encoding.")
        if video.audio.format is not None:
            require_possible(video.audio.format)
        with _writing(path):
            path.touch()  # the muxer would report a bad path only at the first unit
            self._container = av.open(str(path), "w", format="mp4", options=dict(_OPTIONS))
            self._container.metadata["comment"] = self._tags.encode()
            self._stream = self._container.add_mux_stream(
                video.codec, width=video.width, height=video.height, time_base=TIME_BASE
            )
            if (audio := video.audio.format) is not None:
                added = self._container.add_stream(
                    encoder_of(audio), rate=audio.rate, layout=audio.layout
                )
                assert isinstance(added, AudioStream)
                self._audio_stream = added

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._path

    def write(self, unit: VideoUnit) -> None:
        """Append a frame.

        Raises:
            InputError: the first unit is not a key frame, or the unit does not follow the last one.
            UnavailableError: the file cannot be written.
        """
        if not self._times:
            if not unit.key_frame:
                raise InputError("a segment must start with a key frame.")
            self._origin_us = unit.decode_us
        elif unit.decode_us <= self._last_decode_us:
            raise InputError("the units of a segment must come in decoding order.")
        if unit.decode_us > unit.capture_us:
            raise InputError("a frame cannot be presented before it is decoded.")
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

    def write_audio(self, unit: AudioUnit) -> bool:
        """Append audio; False if this file does not take it. Never affects the video."""
        audio = self._video.audio.format
        if self._audio_stream is None or audio is None or not self._times:
            return False
        pts = (unit.capture_us - self._origin_us) * audio.rate // 1_000_000
        if pts <= self._audio_pts:
            return False  # before the file's first frame, or out of order
        # Otherwise the muxer would take the first audio as time 0.
        packet = av.Packet(unit.data)
        packet.pts = packet.dts = pts if self._audio_pts >= 0 else 0
        packet.time_base, packet.duration = Fraction(1, audio.rate), unit.samples
        packet.stream = self._audio_stream
        try:
            self._container.mux(packet)
        except av.error.FFmpegError:
            self._audio_stream = None
            return False
        self._audio_pts = pts
        return True

    def abandon(self) -> None:
        """Close the file as it is. It plays up to its last complete fragment."""
        with suppress(OSError, av.error.FFmpegError):
            self._container.close()

    def close(self) -> SegmentFile | None:
        """Finish and sync the file. Without any unit, delete it and return None.

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
        audio = self._video.audio.format
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
            audio=audio.codec if audio is not None and self._audio_pts >= 0 else None,
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise UnavailableError(
            f"the recording {path.name} cannot be written: {error}.",
            hint="Check that the disk of data_dir is mounted and has free space.",
        ) from error
