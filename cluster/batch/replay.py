"""Detections of one camera, in order, through its pipeline. Pure: what is written is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.batch.table import Looked
from pipelines.crops import CropBox, CropRequest, Remember
from pipelines.domain import Alarm, AlarmSource, CameraPlan, FrameStamp, Sighting, TrackPath
from pipelines.pipeline import CameraPipeline, StepResult
from pipelines.sampling import FrameSampler, grid_phase


@dataclass(frozen=True, slots=True)
class Moment:
    """A picture that is wanted: its file, and the time in it, microseconds."""

    url: str
    media_us: int


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm, and the picture that it was raised on."""

    alarm: Alarm
    moment: Moment


@dataclass(frozen=True, slots=True)
class SeenObject:
    """An object as it is to be remembered.

    Attributes:
        best: the picture that shows it best, and where in it.
    """

    sighting: Sighting
    best: tuple[Moment, CropBox]


@dataclass(slots=True)
class Findings:
    """What a stretch of pictures brought."""

    alarms: list[RaisedAlarm] = field(default_factory=list)
    objects: list[SeenObject] = field(default_factory=list)
    paths: list[TrackPath] = field(default_factory=list)


class Fold:
    """One camera's pipeline over chunks in the order of time.

    An object is handed out once, when it will not be seen again, with its best picture; the live
    path, which cannot wait, stores it several times and ends with the same.

    Args:
        plan: the camera and its rules.
        from_us: what was over before is not handed out, UTC microseconds: pictures of before are
            there so that tracks and rules are in the state in which they would be.
    """

    def __init__(self, plan: CameraPlan, from_us: int) -> None:
        self._pipeline = CameraPipeline(plan)
        self._from_us = from_us
        self._crops: dict[str, tuple[Moment, CropBox]] = {}
        self._objects: dict[str, SeenObject] = {}
        self._fps, self._phase = plan.camera.detect_fps, grid_phase(plan.key)
        self._number = 0
        self._last_us = 0
        self._seen_us = 0
        self.late = 0
        """Pictures that were out of order: files that overlap in time."""

    def chunk(
        self, url: str, looked: Iterable[Looked], *, begins: bool = False, last_us: int = 0
    ) -> Findings:
        """Take in the pictures of the next chunk, all of one file.

        Args:
            url: of the file.
            looked: in order.
            begins: it is the first of its file. Its worker did not know of the picture before it,
                which is another file's, and looked at the first one in any case.
            last_us: capture time of its last picture, looked at or not; 0 where there is none.
        """
        findings = Findings()
        for picture in looked:
            if begins and not self._due(picture.capture_us):
                begins = False
                continue
            begins = False
            if picture.capture_us <= self._last_us:
                self.late += 1
                continue
            self._last_us = picture.capture_us
            self._number += 1
            stamp = FrameStamp(picture.capture_us, self._number, *picture.size)
            result = self._pipeline.step(stamp, picture.detections)
            self._take(result, Moment(url, picture.media_us), findings)
        self._seen_us = last_us or self._seen_us
        return findings

    def finish(self) -> Findings:
        """End of the last chunk: what is still to be handed out."""
        findings = Findings()
        rest = self._pipeline.finish()
        self._remember(rest.remember)
        self._tell(rest.paths, findings)
        for track in sorted(self._objects):
            self._hand_out(track, findings)
        return findings

    def _due(self, capture_us: int) -> bool:
        """Whether the live path, which saw the picture before, too, would look at this one."""
        sampler = FrameSampler(self._fps, self._phase)
        if self._seen_us:
            sampler.offer(self._seen_us)
            sampler.done()
        return sampler.offer(capture_us)

    def _take(self, result: StepResult, moment: Moment, findings: Findings) -> None:
        for alarm in result.alarms:
            if alarm.capture_us >= self._from_us:
                raised = alarm.model_copy(update={"source": AlarmSource.BATCH})
                findings.alarms.append(RaisedAlarm(raised, moment))
        self._hold(result.crops, moment)
        self._remember(result.remember)
        self._tell(result.paths, findings)
        for track in result.forgotten:
            self._crops.pop(track, None)
            self._hand_out(track, findings)

    def _hold(self, requests: tuple[CropRequest, ...], moment: Moment) -> None:
        for request in requests:
            self._crops[request.track_key] = (moment, request.box)

    def _remember(self, remembers: tuple[Remember, ...]) -> None:
        for remember in remembers:
            track = remember.sighting.track
            if track in self._crops:
                self._objects[track] = SeenObject(remember.sighting, self._crops[track])

    def _tell(self, paths: tuple[TrackPath, ...], findings: Findings) -> None:
        findings.paths += [
            path.model_copy(update={"source": AlarmSource.BATCH})
            for path in paths
            if path.end_us >= self._from_us
        ]

    def _hand_out(self, track: str, findings: Findings) -> None:
        seen = self._objects.pop(track, None)
        if seen is not None and seen.sighting.last_seen_us >= self._from_us:
            findings.objects.append(seen)
