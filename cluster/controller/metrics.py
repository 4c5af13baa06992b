"""Prometheus metrics over all cameras, through Ray's own exporter.

Label cardinality is bounded: no tenant and no camera.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ray.util import metrics

from cluster.stores.bus import CameraStatus
from pipelines.domain import CameraKey, CameraState, RecordingState
from pipelines.ledger import Cover


class Growth:
    """Increments of counters that belong to processes which may restart at zero."""

    def __init__(self) -> None:
        self._last: dict[CameraKey, dict[str, int]] = {}

    def since_last(self, now: Mapping[CameraKey, Mapping[str, int]]) -> Counter[str]:
        """Increments since the last call, by name, summed over all cameras. A camera's first
        counts are ignored, because an earlier controller may have counted them already."""
        grown = Counter[str]()
        for key, counts in now.items():
            before = self._last.get(key)
            if before is None:
                continue
            for name, count in counts.items():
                known = before.get(name, 0)
                grown[name] += count - known if count >= known else count
        self._last.update({key: dict(counts) for key, counts in now.items()})
        return +grown


class CoverageMetrics:
    """How long cameras were analysed, blind and off, over all of them."""

    def __init__(self) -> None:
        self._seconds = metrics.Counter(
            "atalaia_camera_seconds",
            description="time of all cameras by what it was: analysed, off, or why blind",
            tag_keys=("cover",),
        )
        self._blind = metrics.Gauge(
            "atalaia_cameras_blind", description="cameras that are blind now", tag_keys=("cause",)
        )

    def observe(self, seconds: Mapping[Cover, float], blind: Mapping[Cover, int]) -> None:
        """Args: `seconds`: that were added since the last call; `blind`: cameras by cause."""
        for cover, more in seconds.items():
            if more > 0:
                self._seconds.inc(more, tags={"cover": cover.value})
        for cover in Cover:
            if cover.blind:
                self._blind.set(blind.get(cover, 0), tags={"cause": cover.value})


class FleetMetrics:
    """The gauges and counters. Create it in a process of the Ray cluster."""

    def __init__(self) -> None:
        self._cameras = metrics.Gauge(
            "atalaia_cameras", description="cameras by state", tag_keys=("state",)
        )
        self._recordings = metrics.Gauge(
            "atalaia_recordings",
            description="cameras by state of their recording",
            tag_keys=("state",),
        )
        self._segments = metrics.Counter(
            "atalaia_recording_segments", description="files of recordings that were finished"
        )
        self._lost = metrics.Counter(
            "atalaia_recording_lost",
            description="frames, sound packets and files that were lost",
            tag_keys=("what",),
        )
        self._skipped = metrics.Counter(
            "atalaia_frames_skipped",
            description="frames not analysed, by cause",
            tag_keys=("cause",),
        )
        self._unpublished = metrics.Counter(
            "atalaia_frames_unpublished",
            description="frames that did not reach their room, by cause",
            tag_keys=("cause",),
        )
        self._segments_grown, self._lost_grown, self._skipped_grown = Growth(), Growth(), Growth()
        self._unpublished_grown = Growth()

    def observe(self, cameras: Mapping[CameraKey, CameraStatus]) -> None:
        """Update the metrics from the current status of all cameras."""
        states = Counter(status.state for status in cameras.values())
        for state in CameraState:
            self._cameras.set(states[state], tags={"state": state.value})
        recordings = {key: status.recording for key, status in cameras.items() if status.recording}
        kept = Counter(recording.state for recording in recordings.values())
        for kind in RecordingState:
            self._recordings.set(kept[kind], tags={"state": kind.value})
        segments = {key: {"all": recording.segments} for key, recording in recordings.items()}
        if grown := self._segments_grown.since_last(segments)["all"]:
            self._segments.inc(grown)
        lost = {key: recording.dropped for key, recording in recordings.items()}
        for what, count in self._lost_grown.since_last(lost).items():
            self._lost.inc(count, tags={"what": what})
        skipped = {key: status.skipped for key, status in cameras.items()}
        for cause, count in self._skipped_grown.since_last(skipped).items():
            self._skipped.inc(count, tags={"cause": cause})
        unpublished = {key: status.unpublished for key, status in cameras.items()}
        for cause, count in self._unpublished_grown.since_last(unpublished).items():
            self._unpublished.inc(count, tags={"cause": cause})
