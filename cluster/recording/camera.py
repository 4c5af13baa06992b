"""The recording of one camera: applies the tenant's settings by attaching a recorder to the tap."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cluster.core.log import get_logger
from cluster.core.settings import RecordingSettings
from cluster.recording.outbox import SegmentOutbox
from cluster.recording.recorder import Recorder
from cluster.recording.segment import SegmentFile
from cluster.recording.tags import Tags
from cluster.recording.tap import RecordingTap
from pipelines.domain import (
    CameraKey,
    MaskedRecording,
    Polygon,
    Recording,
    RecordingMode,
    RecordingState,
    RecordingStatus,
)
from pipelines.errors import UnavailableError
from pipelines.schedule import is_armed

log = get_logger("recording.camera")

RECORDING_OFF = Recording(mode=RecordingMode.OFF)
MASKED_OFF = "the camera has privacy masks, and recording with masks is switched off"


def is_recorded(recording: Recording, masks: tuple[Polygon, ...]) -> bool:
    """Whether these settings allow recording at all."""
    if masks and recording.masked is MaskedRecording.OFF:
        return False
    return recording.mode is not RecordingMode.OFF


def segment_us(settings: RecordingSettings, recording: Recording) -> int:
    """Target length of a segment in the recording's mode, microseconds."""
    alarm = recording.mode is RecordingMode.ALARM
    return round((settings.alarm_segment_s if alarm else settings.segment_s) * 1e6)


class CameraRecording:
    """Belongs to the bridge's event loop. Only `tap` is for the pump's thread.

    Args:
        outbox: takes finished files; the caller closes it.
    """

    def __init__(self, key: CameraKey, settings: RecordingSettings, outbox: SegmentOutbox) -> None:
        self.tap = RecordingTap(key.room)
        self._key = key
        self._settings = settings
        self._outbox = outbox
        self._recording = RECORDING_OFF
        self._masks: tuple[Polygon, ...] = ()
        self._recorder: Recorder | None = None
        self._closing: list[Recorder] = []
        self._problem = ""
        self._segments = 0
        self._dropped: Counter[str] = Counter()

    def apply(self, recording: Recording, masks: tuple[Polygon, ...]) -> None:
        """Use these settings from now on. Does not block. Unchanged settings change nothing."""
        if (recording, masks) == (self._recording, self._masks) and not self._problem:
            return
        self._detach_recorder()
        self._recording, self._masks, self._problem = recording, masks, ""
        if not is_recorded(recording, masks):
            return
        try:
            folder = self._outbox.folder_of(self._key)
        except UnavailableError as error:
            self._problem = error.message
            return
        self._recorder = self._start(folder)
        self.tap.record_audio = recording.audio
        self.tap.recorder = self._recorder

    def status(self) -> RecordingStatus:
        """The state of the recording, and what was dropped since the start."""
        recorder = self._recorder
        now = recorder.status() if recorder else None
        dropped = Counter(self._dropped)
        dropped["pictures"] += (now.dropped if now else 0) + self.tap.lost
        dropped["sound"] += now.audio_dropped if now else 0
        dropped["files"] += self._outbox.lost[self._key]
        reason = self._problem or (now.error if now else "")
        state = RecordingState.IDLE if recorder else RecordingState.OFF
        if reason:
            state = RecordingState.FAILING
        elif now and now.open:
            state = RecordingState.RECORDING
        elif self._masks and not is_recorded(self._recording, self._masks):
            reason = MASKED_OFF if self._recording.mode is not RecordingMode.OFF else ""
        return RecordingStatus(
            state=state, reason=reason, segments=self._segments, dropped=dict(+dropped)
        )

    def request_stop(self) -> None:
        """Stop taking input. The recorder finishes its open file in the background."""
        self._detach_recorder()

    def join(self, timeout_s: float) -> bool:
        """Wait until open files are finished; False after `timeout_s`. Blocks."""
        closed = [recorder.close(timeout_s) for recorder in self._closing]
        self._closing.clear()
        return all(closed)

    # ------------------------------------------------------------ helpers

    def _start(self, folder: Path) -> Recorder:
        recording = self._recording
        rolls_us = None
        if recording.mode is RecordingMode.ALARM:
            rolls_us = (round(recording.pre_roll_s * 1e6), round(recording.post_roll_s * 1e6))
        recorder = Recorder(
            self._key.room,
            folder,
            segment_us=segment_us(self._settings, recording),
            on_segment=self._finished,
            on_unfinished=self._repair_unfinished,
            masks=self._masks,
            tags=Tags(masked=bool(self._masks), rolls_us=rolls_us),
            should_record=lambda at_us: is_armed(recording.schedule, at_us),
        )
        recorder.start()
        return recorder

    def _finished(self, done: SegmentFile) -> None:
        self._outbox.finish(self._key, done)
        self._segments += 1

    def _repair_unfinished(self, path: Path) -> None:
        self._segments += self._outbox.repair(self._key, path)

    def _detach_recorder(self) -> None:
        """Stop feeding the recorder. It finishes its file by itself."""
        self.tap.recorder = None
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.request_close()
            self._closing = [r for r in self._closing if r.running] + [recorder]
            last = recorder.status()
            # The keys are those of `RecordingStatus.dropped`.
            self._dropped.update({"pictures": last.dropped, "sound": last.audio_dropped})
