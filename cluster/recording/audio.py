"""Audio tracks of recordings: AAC and Opus are copied, G.711 is converted to AAC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream

from pipelines.errors import InputError

# libav's codec names of G.711, and their usual short names.
G711 = {"pcm_alaw": "alaw", "pcm_mulaw": "mulaw"}
# Audio object type of AAC-LC (ISO/IEC 14496-3, table 1.17).
AAC_LOW_COMPLEXITY = 2
BREAK_US = 200_000
"""Audio that deviates this much from its expected time starts a new stream: packets were lost."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The audio format as the muxer needs it. `rate`: samples per second."""

    codec: Literal["aac", "opus"]
    rate: int
    layout: str


@dataclass(frozen=True, slots=True)
class AudioUnit:
    """One encoded piece of audio. `capture_us`: time of its first sample, UTC microseconds."""

    data: bytes
    capture_us: int
    samples: int


@dataclass(frozen=True, slots=True)
class AudioPlan:
    """What to do with a camera's audio.

    Attributes:
        format: format in the file; None: no audio track.
        convert: libav's name of the codec to decode; empty: packets are copied.
        note: remark for people, or empty.
    """

    format: AudioFormat | None = None
    convert: str = ""
    note: str = ""


NO_AUDIO = AudioPlan()


def plan(stream: AudioStream) -> AudioPlan:
    """What to do with a stream that was just opened."""
    context = stream.codec_context
    name, rate, layout = context.name, context.sample_rate, context.layout.name
    if name in G711:
        return AudioPlan(AudioFormat("aac", rate, layout), name, f"sound: {name} converted to AAC")
    if name == "aac" and _low_complexity(bytes(context.extradata or b"")) and rate:
        return AudioPlan(AudioFormat("aac", rate, layout))
    if name in ("opus", "libopus"):
        return AudioPlan(AudioFormat("opus", 48_000, layout))
    return AudioPlan(note=f"sound left out: {name} cannot be kept")


def _low_complexity(config: bytes) -> bool:
    """Whether an AudioSpecificConfig is AAC-LC, which every player knows. Others, such as HE-AAC,
    announce a rate that is not the rate of the samples."""
    return bool(config) and config[0] >> 3 == AAC_LOW_COMPLEXITY


def encoder_of(format: AudioFormat) -> str:
    """The encoder whose stream parameters fit audio of this format."""
    return "libopus" if format.codec == "opus" else "aac"


def require_possible(format: AudioFormat) -> None:
    """Check that a track can have this format. Raises InputError."""
    try:
        _open_encoder(format)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(
            f"audio of {format.rate} Hz, {format.layout}, cannot be recorded."
        ) from error


def _open_encoder(format: AudioFormat) -> AudioCodecContext:
    encoder = av.CodecContext.create(encoder_of(format), "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout = format.rate, format.layout
    encoder.format = "flt" if format.codec == "opus" else "fltp"
    encoder.time_base = Fraction(1, format.rate)
    encoder.open()
    return encoder


class AudioConverter:
    """Converts G.711 to AAC. Not thread-safe.

    Args:
        codec: libav's name of the input codec.
        format: of the output.
    """

    def __init__(self, codec: str, format: AudioFormat) -> None:
        self._codec = codec
        self._format = format
        self._base_us: int | None = None
        self._decoder: AudioCodecContext
        self._encoder: AudioCodecContext
        self._fifo: av.AudioFifo
        self._samples = 0

    def feed(self, unit: AudioUnit) -> Iterator[AudioUnit]:
        """Feed one piece of audio; yields the complete AAC frames.

        Raises:
            InputError: the audio cannot be converted.
        """
        expected_us = self._at_us(self._samples)
        if expected_us is None or abs(unit.capture_us - expected_us) > BREAK_US:
            self._start(unit.capture_us)
        try:
            for frame in self._decoder.decode(av.Packet(unit.data)):
                frame.pts, frame.time_base = self._samples, Fraction(1, self._format.rate)
                self._samples += frame.samples
                self._fifo.write(frame)
            while (piece := self._fifo.read(self._encoder.frame_size)) is not None:
                for packet in self._encoder.encode(piece):
                    at_us = self._at_us(packet.pts or 0)
                    if at_us is not None:
                        yield AudioUnit(bytes(packet), at_us, self._encoder.frame_size)
        except (av.error.FFmpegError, ValueError) as error:
            self._base_us = None
            raise InputError(f"audio cannot be converted: {error}.") from error

    def _at_us(self, samples: int) -> int | None:
        if self._base_us is None:
            return None
        return self._base_us + samples * 1_000_000 // self._format.rate

    def _start(self, capture_us: int) -> None:
        self._base_us, self._samples = capture_us, 0
        decoder = av.CodecContext.create(self._codec, "r")
        assert isinstance(decoder, AudioCodecContext)
        decoder.sample_rate, decoder.layout = self._format.rate, self._format.layout
        self._decoder, self._encoder = decoder, _open_encoder(self._format)
        self._fifo = av.AudioFifo()
