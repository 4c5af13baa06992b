"""Sound beside the picture: what MP4 can hold goes in as it is, G.711 becomes AAC."""

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

G711 = {"pcm_alaw": "alaw", "pcm_mulaw": "mulaw"}
AAC_LOW_COMPLEXITY = 2
BREAK_US = 200_000
"""Sound that is this much off what is expected next starts anew: packets were lost."""


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """What the muxer has to know of the sound. `rate`: samples per second."""

    codec: Literal["aac", "opus"]
    rate: int
    layout: str


@dataclass(frozen=True, slots=True)
class SoundUnit:
    """One encoded piece of sound, and when its first sample was heard, UTC microseconds."""

    data: bytes
    capture_us: int
    samples: int


@dataclass(frozen=True, slots=True)
class SoundPlan:
    """What becomes of a camera's sound.

    Attributes:
        format: of the sound in the file, None where it is left out.
        convert: libav's name of the codec that has to be decoded, empty where it goes in as it is.
        note: what people should know of it; empty where all is plain.
    """

    format: SoundFormat | None = None
    convert: str = ""
    note: str = ""


NO_SOUND = SoundPlan()


def plan(stream: AudioStream) -> SoundPlan:
    """What to do with a stream that was just opened."""
    context = stream.codec_context
    name, rate, layout = context.name, context.sample_rate, context.layout.name
    if name in G711:
        return SoundPlan(SoundFormat("aac", rate, layout), name, f"sound: {name} converted to AAC")
    if name == "aac" and _low_complexity(bytes(context.extradata or b"")) and rate:
        return SoundPlan(SoundFormat("aac", rate, layout))
    if name in ("opus", "libopus"):
        return SoundPlan(SoundFormat("opus", 48_000, layout))
    return SoundPlan(note=f"sound left out: {name} cannot be kept")


def _low_complexity(config: bytes) -> bool:
    """Whether an AudioSpecificConfig is of the kind that every player knows (and not, say, HE-AAC,
    whose rate is another than the one that it tells)."""
    return bool(config) and config[0] >> 3 == AAC_LOW_COMPLEXITY


def encoder_of(format: SoundFormat) -> str:
    """The encoder whose stream description fits sound of this format."""
    return "libopus" if format.codec == "opus" else "aac"


def require_possible(format: SoundFormat) -> None:
    """Raises InputError: no file can be described as having such sound."""
    try:
        _open_encoder(format)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"sound of {format.rate} Hz, {format.layout}, cannot be kept.") from error


def _open_encoder(format: SoundFormat) -> AudioCodecContext:
    encoder = av.CodecContext.create(encoder_of(format), "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout = format.rate, format.layout
    encoder.format = "flt" if format.codec == "opus" else "fltp"
    encoder.time_base = Fraction(1, format.rate)
    encoder.open()
    return encoder


class SoundConverter:
    """G.711 in, AAC out. One thread only.

    Args:
        codec: libav's name of what comes.
        format: of what goes out.
    """

    def __init__(self, codec: str, format: SoundFormat) -> None:
        self._codec = codec
        self._format = format
        self._base_us: int | None = None
        self._decoder: AudioCodecContext
        self._encoder: AudioCodecContext
        self._fifo: av.AudioFifo
        self._samples = 0

    def feed(self, unit: SoundUnit) -> Iterator[SoundUnit]:
        """What is complete when this piece goes in.

        Raises:
            InputError: it cannot be converted.
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
                        yield SoundUnit(bytes(packet), at_us, self._encoder.frame_size)
        except (av.error.FFmpegError, ValueError) as error:
            self._base_us = None
            raise InputError(f"sound cannot be converted: {error}.") from error

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
