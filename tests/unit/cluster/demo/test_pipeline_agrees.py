"""The pipeline and `expected`, two independent implementations of the rules, agree."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import SecretStr

from cluster.demo.cast import CAST, Role
from cluster.demo.expected import MIN_VISIBLE, expected_alarms
from cluster.demo.scene import Stage
from pipelines.domain import Camera, CameraPlan, Detections, FrameStamp
from pipelines.pipeline import CameraPipeline

SIZE = (640, 360)
LOOPS = 2
LATE_S = 0.6
"""Three analysed frames: a crossing is confirmed some frames after the foot touches the line."""


@pytest.mark.parametrize("role", [r for r in CAST if r.scene], ids=lambda r: r.id)
@pytest.mark.parametrize("fps", [5, 25])
def test_perfect_detections_give_the_expected_alarms(role: Role, fps: int) -> None:
    """The same ones in each loop: no duplicate, none missing, none across the seam."""
    assert role.scene
    scene = role.scene
    truth = Stage(scene, SIZE).truth()
    camera = Camera(tenant=role.tenant, id=role.id, name=role.name, url=SecretStr("rtsp://x/y"))
    pipeline = CameraPipeline(CameraPlan(camera=camera, rules=role.rules))
    raised = []
    for number in range(0, LOOPS * scene.frames, scene.fps // fps):
        seen = [o for o in truth.frames[number % scene.frames] if o.visible >= MIN_VISIBLE]
        boxes = [[v * side for v, side in zip(o.box, SIZE * 2, strict=True)] for o in seen]
        detections = Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(len(seen), 0.85, np.float32),
            tuple(o.label for o in seen),
        )
        stamp = FrameStamp(10**15 + number * 1_000_000 // scene.fps, number, *SIZE)
        raised += [
            (alarm.rule, alarm.label, number / scene.fps)
            for alarm in pipeline.step(stamp, detections).alarms
        ]
    expected = [
        (alarm.rule, alarm.label, alarm.at_s + loop * scene.duration_s)
        for loop in range(LOOPS)
        for alarm in expected_alarms(truth, role.rules)
    ]
    assert sorted(r[:2] for r in raised) == sorted(e[:2] for e in expected)

    def by_rule(alarms: list[tuple[str, str, float]]) -> list[tuple[str, str, float]]:
        return sorted(alarms, key=lambda a: (a[0], a[2]))

    for (rule, _, at), (_, _, wanted) in zip(by_rule(raised), by_rule(expected), strict=True):
        assert -0.2 <= at - wanted <= LATE_S, f"{rule} at {at}, not {wanted}"
