"""A job analyses the frames that the live path has analysed, also where both look by what moves."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest

from cluster.batch.chunks import FOREVER_US, InferenceSpec, split
from cluster.batch.infer import infer
from cluster.batch.pace import Pace
from cluster.batch.replay import Replay
from cluster.batch.sources import Source, of_files
from cluster.batch.table import FrameDetections
from cluster.batch.video import ReadStats, chunk_frames, media_us, planes_of
from pipelines.attention import AttentiveSampler, Rates
from pipelines.clock import ManualClock
from pipelines.domain import (
    Camera,
    CameraPlan,
    Detections,
    FrameStamp,
    LetterboxedFrame,
    LineCrossRule,
)
from pipelines.imaging import letterbox_i420
from pipelines.masking import MaskPainter
from pipelines.movement import small_luma
from pipelines.pipeline import CameraPipeline
from pipelines.sampling import grid_phase
from tests.unit.pipelines.scenes import CAMERA_FPS, Filmed, noise
from tests.unit.pipelines.world import Thing, stand, walk

START_US = 1_767_225_600_000_000
SECONDS = 28.0
NOBODY = MaskPainter(())
PLAN = CameraPlan(
    camera=Camera(tenant="acme", id="gate", name="Gate", url="rtsp://x/1", attention=True),
    rules=(LineCrossRule(id="line", name="line", line=((0.5, 0.0), (0.5, 1.0))),),
)
SPEC = InferenceSpec(
    tenant="acme",
    camera="gate",
    fps=PLAN.camera.detect_fps,
    rates=Rates.of(PLAN.camera),
    weights="x.pt",
    sha256="0" * 64,
    runtime="auto",
    precision="auto",
    input_size=(160, 96),
    confidence=0.25,
    iou=0.6,
)
# In decoded frames, seconds pass between a frame and the result of its detection: at 25 frames/s
# it comes with the sixth frame after it, before `LAG_US` is over.
FRAMES_LATER = 6


class DarkDetector:
    """Finds the two halves' darkest things: a person to the right, a car to the left edge."""

    batch_size = 4
    concurrency = 2

    def detect(self, frames: Sequence[LetterboxedFrame]) -> list[Detections]:
        return [_dark(frame) for frame in frames]


def _dark(frame: LetterboxedFrame) -> Detections:
    found = []
    dark = frame.pixels[:, :, 1] < 45
    for columns, label in ((slice(0, 30), "car"), (slice(30, 160), "person")):
        rows_at, columns_at = np.nonzero(dark[:, columns])
        if rows_at.size >= 20:
            left, top = columns_at.min() + columns.start, rows_at.min()
            right, bottom = columns_at.max() + columns.start + 1, rows_at.max() + 1
            box = np.array([[left, top, right, bottom]], np.float32)
            found.append((frame.letterbox.to_source(box)[0], label))
    return Detections(
        np.array([box for box, _ in found], np.float32).reshape(-1, 4),
        np.full(len(found), 0.9, np.float32),
        tuple(label for _, label in found),
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A parked car to the left; somebody crosses to its right from second 15 to 18."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    car = Thing(stand((0.09, 0.8)), width=0.12, height=0.15)
    person = Thing(walk((0.25, 0.8), (1.0, 0.8), 15.0, 18.0), width=0.06, height=0.3)
    scene = Filmed([car, person], effects=(noise(1.5),), brightness=20.0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        stream.gop_size = 25
        for number in range(round(SECONDS * CAMERA_FPS)):
            frame = av.VideoFrame.from_ndarray(scene.luma(number / CAMERA_FPS), "gray")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (found,), _ = of_files([str(path)], START_US)
    return found


def live(source: Source) -> list[FrameDetections]:
    """What a watcher analyses: one frame in flight, and each result some frames later."""
    sampler = AttentiveSampler(Rates.of(PLAN.camera), grid_phase(PLAN.key))
    flying: deque[tuple[int, FrameDetections]] = deque()
    analysed = []
    frames = chunk_frames(source.url, None, None, ReadStats())
    for number, (_, frame) in enumerate(frames):
        while flying and flying[0][0] <= number:
            _, result = flying.popleft()
            sampler.learn(result.capture_us, result.detections, result.size)
            analysed.append(result)
        at_us, planes = source.zero_us + media_us(frame), planes_of(frame, NOBODY)
        if sampler.offer(at_us, lambda planes=planes: small_luma(planes.y)):  # type: ignore[misc]
            found = _dark(letterbox_i420(planes, SPEC.input_size))
            result = FrameDetections(at_us, media_us(frame), planes.size, found)
            flying.append((number + FRAMES_LATER, result))
            sampler.done()
    return analysed + [result for _, result in flying]


def job(source: Source, chunk_us: int) -> list[list[FrameDetections]]:
    chunks = split([source], chunk_us, 0, FOREVER_US)
    pace = Pace(math.inf, ManualClock())
    return [list(infer(chunk, SPEC, DarkDetector(), ReadStats(), pace)) for chunk in chunks]


def test_in_one_chunk_a_job_analyses_exactly_the_frames_of_the_live_path(source: Source) -> None:
    seen = live(source)
    (found,) = job(source, 600_000_000)
    # Before the background is known the job looks more often.
    known = [frame for frame in found if frame.capture_us >= START_US + 4_000_000]
    seen = [frame for frame in seen if frame.capture_us >= START_US + 4_000_000]
    assert [frame.capture_us for frame in known] == [frame.capture_us for frame in seen]
    for one, other in zip(known, seen, strict=True):
        assert one.detections.labels == other.detections.labels
        assert np.array_equal(one.detections.xyxy, other.detections.xyxy)
    # 5 a second would be 120: most are of the person's three seconds and those after.
    assert len(known) < 60


def test_in_chunks_it_analyses_those_and_more(source: Source) -> None:
    seen = {frame.capture_us for frame in live(source)}
    found = {frame.capture_us for chunk in job(source, 7_000_000) for frame in chunk}
    assert len(job(source, 7_000_000)) == 4
    assert seen <= found


def test_live_and_job_raise_the_same_alarm(source: Source) -> None:
    pipeline = CameraPipeline(PLAN)
    raised = [
        (alarm.rule, alarm.label, alarm.capture_us)
        for number, frame in enumerate(live(source))
        for alarm in pipeline.step(
            FrameStamp(frame.capture_us, number, *frame.size), frame.detections
        ).alarms
    ]
    replay = Replay(PLAN, from_us=0)
    findings = [
        replay.feed(source.url, chunk, first_of_file=number == 0)
        for number, chunk in enumerate(job(source, 7_000_000))
    ]
    by_job = [found.alarm for each in findings for found in each.alarms]
    assert [(alarm.rule, alarm.label, alarm.capture_us) for alarm in by_job] == raised
    assert [rule for rule, *_ in raised] == ["line"]
    analysed = [cell for each in (*findings, replay.finish()) for cell in each.analysed]
    times = [cell.start_us + ms * 1_000 for cell in analysed for ms in cell.times]
    assert max(np.diff(times)) <= 400_000


def test_tables_of_even_rates_keep_their_names_and_others_have_their_own(source: Source) -> None:
    (chunk,) = split([source], 600_000_000, 0, FOREVER_US)
    even = SPEC.model_copy(update={"rates": None})
    names = {chunk.key(even), chunk.key(SPEC)}
    assert len(names) == 2
    assert "rates" not in even.model_dump_json(exclude={"weights", "rates"})
