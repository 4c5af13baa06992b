"""Replays one camera's detections, in order, through its pipeline. Pure: returns what to write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.batch.table import FrameDetections
from pipelines.crops import CropBox, CropRequest, RememberRequest, normalized
from pipelines.domain import (
    Alarm,
    AlarmSource,
    AnalysedCell,
    CameraPlan,
    FrameStamp,
    Sighting,
    TrackPath,
)
from pipelines.pipeline import CameraPipeline, StepResult
from pipelines.recognition import Point
from pipelines.sampling import FrameSampler, grid_phase

S = 1_000_000
"""Microseconds per second."""

HEARTBEAT_SLACK = 1.1
"""Two heartbeats are this much further apart at most, because frames do not come exactly then."""


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A frame of a file. `media_us`: time in the file, microseconds."""

    url: str
    media_us: int


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm and the frame that raised it."""

    alarm: Alarm
    frame: FrameRef


@dataclass(frozen=True, slots=True)
class SeenObject:
    """An object to index.

    Attributes:
        best: the frame that shows it best, and the crop in that frame.
    """

    sighting: Sighting
    best: tuple[FrameRef, CropBox]


@dataclass(slots=True)
class SeenTrack:
    """Where a confirmed track was within the range, by its class at the end."""

    label: str
    points: list[Point] = field(default_factory=list)


@dataclass(slots=True)
class Findings:
    """What a range of frames yields.

    Attributes:
        tracks: confirmed ones in sight, by key.
        forgotten: keys that do not occur after this.
    """

    alarms: list[RaisedAlarm] = field(default_factory=list)
    objects: list[SeenObject] = field(default_factory=list)
    paths: list[TrackPath] = field(default_factory=list)
    tracks: dict[str, SeenTrack] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    analysed: list[AnalysedCell] = field(default_factory=list)


class Replay:
    """One camera's pipeline over chunks in time order.

    An object is emitted once, with its best frame, when its track has ended. The live path cannot
    wait: it stores an object several times and ends with the same row.

    Args:
        plan: the camera and its rules.
        from_us: what ended earlier is not emitted, UTC microseconds. Earlier frames only bring
            tracks and rules into the right state.

    Attributes:
        late: frames out of order, skipped; files that overlap in time have them.
    """

    def __init__(self, plan: CameraPlan, from_us: int) -> None:
        self._pipeline = CameraPipeline(plan)
        self._from_us = from_us
        self._crops: dict[str, tuple[FrameRef, CropBox]] = {}
        self._objects: dict[str, SeenObject] = {}
        self._fps, self._phase = plan.camera.detect_fps, grid_phase(plan.key)
        self._number = 0
        self._last_us = 0
        self._previous_us = 0
        self.late = 0

    def feed(
        self,
        url: str,
        frames: Iterable[FrameDetections],
        *,
        first_of_file: bool = False,
        last_us: int = 0,
    ) -> Findings:
        """Process the frames of the next chunk. They all belong to one file.

        Args:
            url: of the file.
            frames: in order.
            first_of_file: whether the chunk is the first of its file. Its worker did not know the
                previous frame, which is in another file, and analysed the first one in any case.
            last_us: capture time of the chunk's last frame, analysed or not, UTC microseconds;
                0 if it has none.
        """
        findings = Findings()
        for frame in frames:
            if first_of_file and not self._due(frame.capture_us):
                first_of_file = False
                continue
            first_of_file = False
            if frame.capture_us <= self._last_us:
                self.late += 1
                continue
            quiet_us = self._quiet_us(frame.capture_us)
            self._last_us = frame.capture_us
            self._number += 1
            stamp = FrameStamp(frame.capture_us, self._number, *frame.size)
            result = self._pipeline.step(stamp, frame.detections, quiet_us)
            _note_tracks(result, stamp, findings)
            self._collect(result, FrameRef(url, frame.media_us), findings)
        self._previous_us = last_us or self._previous_us
        return findings

    def finish(self) -> Findings:
        """What remains to be emitted after the last chunk."""
        findings = Findings()
        rest = self._pipeline.finish()
        self._update_objects(rest.remember)
        self._emit_paths(rest.paths, findings)
        self._emit_analysed(rest.analysed, findings)
        for track in sorted(self._objects):
            self._emit_object(track, findings)
        return findings

    def _due(self, capture_us: int) -> bool:
        """Whether the live path, which saw the previous frame too, would analyse this one."""
        sampler = FrameSampler(self._fps, self._phase)
        if self._previous_us:
            sampler.offer(self._previous_us)
            sampler.done()
        return sampler.offer(capture_us)

    def _quiet_us(self, capture_us: int) -> tuple[int, ...]:
        """Times, since the frame before, at which the worker saw that nothing moved: within the
        length of a heartbeat it skips frames for no other reason."""
        camera = self._pipeline.plan.camera
        gap_us = capture_us - self._last_us
        if not camera.attention or gap_us > HEARTBEAT_SLACK * S / camera.slowest_fps:
            return ()
        step_us = round(S / camera.detect_fps)
        return tuple(range(self._last_us + step_us, capture_us - step_us // 2, step_us))

    def _collect(self, result: StepResult, frame: FrameRef, findings: Findings) -> None:
        for alarm in result.alarms:
            if alarm.capture_us >= self._from_us:
                raised = alarm.model_copy(update={"source": AlarmSource.BATCH})
                findings.alarms.append(RaisedAlarm(raised, frame))
        self._keep_crops(result.crops, frame)
        self._update_objects(result.remember)
        self._emit_paths(result.paths, findings)
        self._emit_analysed(result.analysed, findings)
        for track in result.forgotten:
            self._crops.pop(track, None)
            self._emit_object(track, findings)
        findings.forgotten += result.forgotten

    def _keep_crops(self, requests: tuple[CropRequest, ...], frame: FrameRef) -> None:
        for request in requests:
            self._crops[request.track_key] = (frame, request.box)

    def _update_objects(self, updates: tuple[RememberRequest, ...]) -> None:
        for remember in updates:
            track = remember.sighting.track
            if track in self._crops:
                self._objects[track] = SeenObject(remember.sighting, self._crops[track])

    def _emit_paths(self, paths: tuple[TrackPath, ...], findings: Findings) -> None:
        findings.paths += [
            path.model_copy(update={"source": AlarmSource.BATCH})
            for path in paths
            if path.end_us >= self._from_us
        ]

    def _emit_analysed(self, cells: tuple[AnalysedCell, ...], findings: Findings) -> None:
        findings.analysed += [
            cell.model_copy(update={"source": AlarmSource.BATCH})
            for cell in cells
            if cell.end_us >= self._from_us
        ]

    def _emit_object(self, track: str, findings: Findings) -> None:
        seen = self._objects.pop(track, None)
        if seen is not None and seen.sighting.last_seen_us >= self._from_us:
            findings.objects.append(seen)


def _note_tracks(result: StepResult, stamp: FrameStamp, findings: Findings) -> None:
    for track in result.tracks:
        seen = findings.tracks.setdefault(track.key, SeenTrack(track.label))
        seen.label = track.label
        box = normalized(track.box, (stamp.width, stamp.height))
        seen.points.append(Point(stamp.capture_us, box))
