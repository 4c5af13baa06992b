"""The pipeline of one camera: detections in; tracks, alarms, crops, sightings and paths out. Pure.

No clock but the frames', no I/O, no randomness: the same frames give the same results, live or from
a recording. Memory is bounded by the objects in sight and those still expected to return.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from pipelines.coverage import CoverageBook
from pipelines.crops import CropBook, CropRequest, RememberRequest, normalized
from pipelines.domain import (
    Alarm,
    AnalysedCell,
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

# Minimum confidence of a detection to start a track, unless a rule needs less; weaker ones only
# extend tracks. Equals the default of a rule's `min_confidence`.
ACTIVATION = 0.4

S = 1_000_000
"""Microseconds per second."""

# Frames that say how often the camera is analysed now: as many as `rules.HOLD_FRAMES` spans, and
# the one before.
HOLD_LOOKS = 4


@dataclass(frozen=True, slots=True)
class StepResult:
    """Results of one frame.

    Attributes:
        tracks: confirmed objects seen in this frame, in source pixels, sorted by key.
        alarms: with only `stages.capture_us` set; the driver fills the rest.
        crops: to be cut from this frame.
        remember: sightings to store, each with the latest crop of its track.
        forgotten: tracks that will not occur again; their crops can be dropped after `remember` of
            this result has been processed.
        paths: completed pieces of trajectories.
        analysed: completed cells of the times at which the camera was analysed.
        late: the frame was late or repeated, and was skipped.
    """

    tracks: tuple[Track, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    crops: tuple[CropRequest, ...] = ()
    remember: tuple[RememberRequest, ...] = ()
    forgotten: tuple[str, ...] = ()
    paths: tuple[TrackPath, ...] = ()
    analysed: tuple[AnalysedCell, ...] = ()
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
        self._coverage = CoverageBook(plan.key)
        self._times_us: deque[int] = deque(maxlen=HOLD_LOOKS)
        self._rules.apply(plan.rules, known=frozenset())

    @property
    def plan(self) -> CameraPlan:
        return self._plan

    def apply(self, plan: CameraPlan) -> None:
        """Switch to another plan. Keeps the tracks, and the state of unchanged rules.

        An older plan than the current one is ignored: it was overtaken in transit.

        Raises:
            ValueError: the plan belongs to another camera.
        """
        if plan.key != self._plan.key:
            raise ValueError(f"plan of {plan.key} passed to the pipeline of {self._plan.key}")
        if plan.revision < self._plan.revision:
            return
        self._plan = plan
        self._tracker.set_activation(_activation(plan))
        self._rules.apply(plan.rules, known=self._tracker.keys)

    def step(
        self, stamp: FrameStamp, detections: Detections, quiet_us: tuple[int, ...] = ()
    ) -> StepResult:
        """Process one frame. Frames out of capture order are skipped.

        Args:
            stamp: of the analysed frame.
            detections: in source pixels of that frame, including those of low confidence.
            quiet_us: capture times, since the frame before, at which nothing moved, so that the
                camera counts as analysed then.
        """
        scene = self._tracker.update(stamp, detections)
        if scene is None:
            return StepResult(late=True)
        firings = self._rules.step(scene, self._hold_us(scene))
        crops, remember = self._crops.step(scene)
        paths = self._paths.step(scene)
        return StepResult(
            tracks=tuple(seen.track for seen in scene.seen if seen.confirmed),
            alarms=tuple(self._alarm(firing, scene) for firing in firings),
            crops=crops,
            remember=remember,
            forgotten=scene.forgotten,
            paths=paths,
            analysed=self._cover((*quiet_us, stamp.capture_us), paths),
        )

    def finish(self) -> StepResult:
        """End of the stream: the remaining sightings and paths."""
        paths = self._paths.finish()
        return StepResult(
            remember=self._crops.finish(), paths=paths, analysed=self._coverage.finish(paths)
        )

    def held(self) -> dict[str, int]:
        """Number of tracks that each part holds state for; for metrics and tests of its bounds."""
        return {
            "tracks": len(self._tracker.keys),
            "crops": len(self._crops),
            "paths": len(self._paths),
            "episodes": self._rules.episodes_held,
            "rules": self._rules.tracks_held,
        }

    def _hold_us(self, scene: Scene) -> int:
        """Between heartbeats an object counts as present for as many frames as at other times."""
        camera = self._plan.camera
        if not camera.attention:
            return hold_us(camera.detect_fps)
        self._times_us.append(scene.scene_us)
        longest_us = max((b - a for a, b in pairwise(self._times_us)), default=0)
        return hold_us(max(camera.slowest_fps, S / max(longest_us, 1)))

    def _cover(
        self, times_us: tuple[int, ...], paths: tuple[TrackPath, ...]
    ) -> tuple[AnalysedCell, ...]:
        # Paths that have ended belong to the cell of the frame before, so they come first.
        ended = self._coverage.step(times_us[0], paths)
        for at_us in times_us[1:]:
            ended += self._coverage.step(at_us, ())
        return ended

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
