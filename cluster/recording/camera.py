"""The recording of one camera: what its tenant wants of it becomes a recorder at its tap."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cluster.core.log import get_logger
from cluster.core.settings import RecordingSettings
from cluster.recording.masked import MaskedPictures
from cluster.recording.recorder import Recorder
from cluster.recording.segment import SegmentFile
from cluster.recording.spool import Spool
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

NOTHING = Recording(mode=RecordingMode.OFF)
MASKED_OFF = "the camera has privacy masks, and masked pictures are not to be recorded"


def recorded(recording: Recording, masks: tuple[Polygon, ...]) -> bool:
    """Whether anything of the camera may be recorded at all."""
    if masks and recording.masked is MaskedRecording.OFF:
        return False
    return recording.mode is not RecordingMode.OFF


def segment_us(settings: RecordingSettings, recording: Recording) -> int:
    alarm = recording.mode is RecordingMode.ALARM
    return round((settings.alarm_segment_s if alarm else settings.segment_s) * 1e6)


class CameraRecording:
    """Belongs to the bridge's event loop; `tap` is for the pump.

    Args:
        spool: where files go; the caller's to close.
    """

    def __init__(self, key: CameraKey, settings: RecordingSettings, spool: Spool) -> None:
        self.tap = RecordingTap(key.room)
        self._key = key
        self._settings = settings
        self._spool = spool
        self._recording = NOTHING
        self._masks: tuple[Polygon, ...] = ()
        self._recorder: Recorder | None = None
        self._closing: list[Recorder] = []
        self._trouble = ""
        self._segments = 0
        self._dropped: Counter[str] = Counter()

    def apply(self, recording: Recording, masks: tuple[Polygon, ...]) -> None:
        """Record like this from now on. Does not wait, and nothing where nothing changed."""
        if (recording, masks) == (self._recording, self._masks) and not self._trouble:
            return
        self._let_go()
        self._recording, self._masks, self._trouble = recording, masks, ""
        if not recorded(recording, masks):
            return
        try:
            folder = self._spool.folder_of(self._key)
        except UnavailableError as error:
            self._trouble = error.message
            return
        self._recorder = self._start(folder)
        self.tap.audio = recording.audio
        self.tap.recorder = self._recorder

    def status(self) -> RecordingStatus:
        recorder = self._recorder
        now = recorder.status() if recorder else None
        dropped = Counter(self._dropped)
        dropped["pictures"] += (now.dropped if now else 0) + self.tap.lost
        dropped["sound"] += now.mute if now else 0
        dropped["files"] += self._spool.lost[self._key]
        reason = self._trouble or (now.error if now else "")
        state = RecordingState.IDLE if recorder else RecordingState.OFF
        if reason:
            state = RecordingState.FAILING
        elif now and now.open:
            state = RecordingState.RECORDING
        elif self._masks and not recorded(self._recording, self._masks):
            reason = MASKED_OFF if self._recording.mode is not RecordingMode.OFF else ""
        return RecordingStatus(
            state=state, reason=reason, segments=self._segments, dropped=dict(+dropped)
        )

    def request_stop(self) -> None:
        """Take nothing more; the open file is being finished."""
        self._let_go()

    def join(self, timeout_s: float) -> bool:
        """Wait for files that are being finished; False where one was not in time. Blocking."""
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
            on_left=self._left,
            through=MaskedPictures(self._masks).feed if self._masks else None,
            tags=Tags(masked=bool(self._masks), rolls_us=rolls_us),
            wanted=lambda at_us: is_armed(recording.schedule, at_us),
        )
        recorder.start()
        return recorder

    def _finished(self, done: SegmentFile) -> None:
        self._spool.finish(self._key, done)
        self._segments += 1

    def _left(self, path: Path) -> None:
        self._segments += self._spool.repair(self._key, path)

    def _let_go(self) -> None:
        """Nothing goes to the recorder any more; it finishes its file by itself."""
        self.tap.recorder = None
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.request_close()
            self._closing = [r for r in self._closing if r.running] + [recorder]
            last = recorder.status()
            self._dropped.update(pictures=last.dropped, sound=last.mute)
