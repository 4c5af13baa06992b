"""The pipeline of one camera: detections in; tracks, alarms, crops, memories and paths out. Pure.

No clock but the frames', no I/O, no chance: the same frames give the same results, live or from a
recording. What it holds is bounded by what is in sight and what is still expected back.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.crops import CropBook, CropRequest, Remember, normalized
from pipelines.domain import (
    Alarm,
    CameraPlan,
    Detections,
    FrameStamp,
    Stages,
    Track,
    TrackPath,
)
from pipelines.identity import alarm_id
from pipelines.paths import PathBook
from pipelines.rules import Firing, RuleBook, hold_us
from pipelines.tracking import CameraTracker, Scene

# From this confidence on a detection may start a track, unless a rule asks for less; weaker ones
# only prolong tracks. The default of a rule's `min_confidence`.
ACTIVATION = 0.4


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one frame brought.

    Attributes:
        tracks: confirmed objects that were seen in this frame, in source pixels, sorted by key.
        alarms: with `stages.capture_us` alone; the driver fills the rest.
        crops: to be cut from this very frame.
        remember: to be stored, each with the latest crop of its track.
        forgotten: tracks that will not be named again: their crops can go, once `remember` of this
            result is done.
        paths: where tracks were, as far as it is known for good.
        late: the frame was late or a repetition, and was not looked at.
    """

    tracks: tuple[Track, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    crops: tuple[CropRequest, ...] = ()
    remember: tuple[Remember, ...] = ()
    forgotten: tuple[str, ...] = ()
    paths: tuple[TrackPath, ...] = ()
    late: bool = False


class CameraPipeline:
    """State of one camera between frames. Not thread-safe; one frame at a time.

    Args:
        plan: the camera and its rules.
    """

    def __init__(self, plan: CameraPlan) -> None:
        self._plan = plan
        self._tracker = CameraTracker(_activation(plan))
        self._rules = RuleBook()
        self._crops = CropBook(plan.key)
        self._paths = PathBook(plan.key)
        self._rules.apply(plan.rules, known=frozenset())

    @property
    def plan(self) -> CameraPlan:
        return self._plan

    def apply(self, plan: CameraPlan) -> None:
        """Go on under another plan: tracks stay, and the state of rules that are the same.

        A plan older than the present one is ignored: it was overtaken on its way.

        Raises:
            ValueError: the plan is of another camera.
        """
        if plan.key != self._plan.key:
            raise ValueError(f"a plan of {plan.key} for the pipeline of {self._plan.key}")
        if plan.revision < self._plan.revision:
            return
        self._plan = plan
        self._tracker.set_activation(_activation(plan))
        self._rules.apply(plan.rules, known=self._tracker.keys)

    def step(self, stamp: FrameStamp, detections: Detections) -> StepResult:
        """Take in one frame. Frames come in the order of capture; what is out of it is skipped.

        Args:
            stamp: of the frame that was looked at.
            detections: in source pixels of that frame, weak ones included.
        """
        scene = self._tracker.update(stamp, detections)
        if scene is None:
            return StepResult(late=True)
        firings = self._rules.step(scene, hold_us(self._plan.camera.detect_fps))
        crops, remember = self._crops.step(scene)
        return StepResult(
            tracks=tuple(seen.track for seen in scene.seen if seen.confirmed),
            alarms=tuple(self._alarm(firing, scene) for firing in firings),
            crops=crops,
            remember=remember,
            forgotten=scene.forgotten,
            paths=self._paths.step(scene),
        )

    def finish(self) -> StepResult:
        """End of the stream: what is still to be remembered, and the paths not told yet."""
        return StepResult(remember=self._crops.finish(), paths=self._paths.finish())

    def held(self) -> dict[str, int]:
        """How many tracks each part holds something about; for metrics, and to see it bounded."""
        return {
            "tracks": len(self._tracker.keys),
            "crops": len(self._crops),
            "paths": len(self._paths),
            "episodes": self._rules.episodes_held,
            "rules": self._rules.tracks_held,
        }

    def _alarm(self, firing: Firing, scene: Scene) -> Alarm:
        stamp, track = scene.stamp, firing.observation.track
        return Alarm(
            id=alarm_id(self._plan.key, firing.rule.id, track.key, firing.episode),
            tenant=self._plan.key.tenant,
            camera=self._plan.key.camera,
            rule=firing.rule.id,
            kind=firing.kind,
            label=track.label,
            confidence=track.confidence,
            box=normalized(track.box, (stamp.width, stamp.height)),
            track=track.key,
            episode=firing.episode,
            frame_id=stamp.frame_id,
            stages=Stages(capture_us=stamp.capture_us),
        )


def _activation(plan: CameraPlan) -> float:
    return min([ACTIVATION, *(rule.min_confidence for rule in plan.rules)])
