"""Audio keeps its time beside the video, and never affects it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext

from cluster.recording.audio import (
    NO_AUDIO,
    AudioConverter,
    AudioFormat,
    AudioPlan,
    AudioUnit,
    plan,
)
from cluster.recording.probe import probe
from cluster.recording.recorder import AUDIO_LEFT_OUT, Recorder
from cluster.recording.segment import SegmentFile, SegmentWriter, VideoFormat, VideoUnit
from pipelines.errors import InputError
from tests.unit.cluster.recording.test_recording_segment import (
    FRAMES,
    HEIGHT,
    START_US,
    WIDTH,
    capture_us,
    read,
    units,
)

AAC = AudioFormat("aac", 48_000, "mono")
OPUS = AudioFormat("opus", 48_000, "stereo")
SECONDS = 1.5


def spoken(form: AudioFormat, seconds: float = SECONDS) -> list[AudioUnit]:
    """A tone of 400 Hz from the first frame on, as a camera's encoder sends it."""
    encoder = av.CodecContext.create("libopus" if form.codec == "opus" else "aac", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout = form.rate, form.layout
    encoder.format = "flt" if form.codec == "opus" else "fltp"
    encoder.time_base = Fraction(1, form.rate)
    encoder.open()
    made: list[AudioUnit] = []
    for start in range(0, int(seconds * form.rate), encoder.frame_size):
        at = np.arange(start, start + encoder.frame_size) / form.rate
        tone = (0.5 * np.sin(2 * np.pi * 400 * at)).astype(np.float32)
        channels = 2 if form.layout == "stereo" else 1
        frame = av.AudioFrame.from_ndarray(
            np.repeat(tone, channels)[None], str(encoder.format.name), form.layout
        )
        frame.rate, frame.pts, frame.time_base = form.rate, start, Fraction(1, form.rate)
        for packet in encoder.encode(frame):
            pts = packet.pts or 0
            if pts >= 0:  # earlier packets only prime the decoder
                at_us = START_US + pts * 1_000_000 // form.rate
                made.append(AudioUnit(bytes(packet), at_us, encoder.frame_size))
    return made


def together(video: list[VideoUnit], audio: list[AudioUnit]) -> list[VideoUnit | AudioUnit]:
    """Both in order of arrival; audio arrives a little later than its frame."""
    return sorted(
        [*video, *audio],
        key=lambda u: u.decode_us if isinstance(u, VideoUnit) else u.capture_us + 15_000,
    )


def audio_times(path: Path) -> list[int]:
    """Start of each audio packet, microseconds in the file."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [
            round(packet.pts * Fraction(packet.time_base) * 1_000_000)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]


def loudness(path: Path) -> tuple[float, float]:
    """Seconds of decoded audio, and their mean square."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return sum(f.samples / f.sample_rate for f in frames), float(np.square(samples).mean())


@pytest.mark.parametrize("form", [AAC, OPUS], ids=["aac", "opus"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_audio_that_mp4_supports_is_copied(
    tmp_path: Path, form: AudioFormat, b_frames: int
) -> None:
    video = units("libx264", b_frames)
    writer = SegmentWriter(tmp_path / "a.mp4", VideoFormat("h264", WIDTH, HEIGHT, AudioPlan(form)))
    taken: list[AudioUnit] = []
    for unit in together(video, spoken(form)):
        if isinstance(unit, VideoUnit):
            writer.write(unit)
        elif writer.write_audio(unit):
            taken.append(unit)
    done = writer.close()
    assert done is not None
    assert done.audio == form.codec
    assert len(taken) >= SECONDS * 0.9 * form.rate / taken[0].samples
    # The audio does not move any frame.
    assert [done.origin_us + at for at, _ in read(done.path)] == [
        capture_us(n) for n in range(FRAMES)
    ]
    times = audio_times(done.path)
    assert len(times) == len(taken)
    assert times[0] == 0
    sample_us = 1_000_000 / form.rate
    assert all(
        abs(done.origin_us + at_us - unit.capture_us) <= 2 * sample_us
        for at_us, unit in zip(times[1:], taken[1:], strict=True)
    )
    seconds, power = loudness(done.path)
    assert seconds == pytest.approx(len(taken) * taken[0].samples / form.rate, abs=0.05)
    assert power == pytest.approx(0.125, rel=0.1)  # of a sine of amplitude 0.5
    assert probe(done.path).audio == form.codec


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw"])
def test_g711_becomes_aac_at_its_time(tmp_path: Path, codec: str) -> None:
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 8_000, "mono", "s16"
    encoder.time_base = Fraction(1, 8_000)
    converter = AudioConverter(codec, AudioFormat("aac", 8_000, "mono"))
    made: list[AudioUnit] = []
    for start in range(0, 16_000, 160):
        at = np.arange(start, start + 160) / 8_000
        tone = (16_384 * np.sin(2 * np.pi * 400 * at)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
        frame.rate, frame.pts = 8_000, start
        for packet in encoder.encode(frame):
            jitter_us = start * 7 % 3_000  # of the network: it must not move the audio
            at_us = START_US + start * 125 + jitter_us
            made += converter.feed(AudioUnit(bytes(packet), at_us, 160))
    times = [unit.capture_us for unit in made if unit.capture_us >= START_US]
    assert times == [START_US + n * 128_000 for n in range(len(times))]
    assert len(times) >= 13  # of 15.6: the encoder holds two back
    # After a pause of a second, audio gets its arrival time.
    after = START_US + 3_000_000
    late = [
        u
        for n in range(30)
        for u in converter.feed(AudioUnit(b"\xd5" * 160, after + n * 20_000, 160))
    ]
    assert after in [unit.capture_us for unit in late]


def test_data_that_is_not_audio_cannot_be_converted() -> None:
    converter = AudioConverter("pcm_alaw", AudioFormat("aac", 8_000, "mono"))
    list(converter.feed(AudioUnit(b"", START_US, 0)))  # an empty packet ends the decoder
    with pytest.raises(InputError, match="audio"):
        list(converter.feed(AudioUnit(b"", START_US, 0)))


def test_broken_audio_costs_no_frame(tmp_path: Path) -> None:
    done: list[SegmentFile] = []
    recorder = Recorder("test", tmp_path, segment_us=10**9, on_segment=done.append)
    broken = AudioPlan(AudioFormat("aac", 8_000, "mono"), "pcm_alaw")
    unusable = AudioPlan(AudioFormat("aac", 7, "nonsense"))
    video = units("libx264", 0)
    for n, unit in enumerate(video):
        audio = broken if n < 20 else unusable
        recorder.offer(unit, VideoFormat("h264", WIDTH, HEIGHT, audio))
        recorder.offer_audio(AudioUnit(b"", unit.capture_us, 0), broken)
        recorder.offer_audio(AudioUnit(b"\xff" * 9, unit.capture_us - 10**8, 160), unusable)
    recorder.start()
    assert recorder.close(20)
    assert [segment.frames for segment in done] == [20, 15]
    times = [s.origin_us + at_us for s in done for at_us, _ in read(s.path)]
    assert times == [unit.capture_us for unit in video]
    assert done[1].tags.note == AUDIO_LEFT_OUT
    status = recorder.status()
    assert (status.dropped, status.error) == (0, "")


def test_audio_that_starts_or_stops_takes_effect_at_a_key_frame(tmp_path: Path) -> None:
    done: list[SegmentFile] = []
    recorder = Recorder("test", tmp_path, segment_us=10**9, on_segment=done.append)
    video, audio = units("libx264", 0), spoken(AAC)
    for n, unit in enumerate(video):
        talking = 5 <= n < 25
        recorder.offer(
            unit, VideoFormat("h264", WIDTH, HEIGHT, AudioPlan(AAC) if talking else NO_AUDIO)
        )
        if talking:
            while audio and audio[0].capture_us <= unit.capture_us:
                recorder.offer_audio(audio.pop(0), AudioPlan(AAC))
    recorder.start()
    assert recorder.close(20)
    assert [(segment.frames, segment.audio) for segment in done] == [
        (10, None),
        (20, "aac"),
        (5, None),
    ]


@pytest.mark.parametrize(
    ("codec", "kept", "convert"),
    [("aac", "aac", ""), ("pcm_alaw", "aac", "pcm_alaw"), ("pcm_s16le", None, "")],
)
def test_the_plan_for_a_cameras_audio(
    tmp_path: Path, codec: str, kept: str | None, convert: str
) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.rate, frame.pts = 8_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        planned = plan(container.streams.audio[0])
    assert (planned.format.codec if planned.format else None) == kept
    assert planned.convert == convert
    assert bool(planned.note) == (codec != "aac")
