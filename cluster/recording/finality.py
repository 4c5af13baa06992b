"""When the recordings around an alarm are final: nothing more will be stored."""

from __future__ import annotations

from cluster.core.settings import RecordingSettings
from cluster.recording.camera import is_recorded, segment_us
from pipelines.domain import Polygon, Recording, RecordingMode

# A segment ends at a key frame. Cameras send one every 1 to 4 s. A stream with more than 12 s
# between key frames is transcoded, with one every 2 s.
KEY_FRAME_S = 12.0
# An allowance for the retention decision, the upload to an object store, and the SQL row.
SHIPPING_S = 15.0


def settled_after_s(
    settings: RecordingSettings, recording: Recording, masks: tuple[Polygon, ...] = ()
) -> float:
    """Seconds after an alarm's frame until everything that was recorded around it is stored.

    Until then a clip may still become available. 0 if the camera is not recorded. This holds while
    storage and database can be reached. Otherwise files wait and arrive later.
    """
    if not is_recorded(recording, masks):
        return 0.0
    waiting_s = 0.0
    if recording.mode is RecordingMode.ALARM:
        waiting_s = recording.pre_roll_s + settings.grace_s
    # The last relevant file may begin right before the end of the post-roll.
    file_s = segment_us(settings, recording) / 1e6 + KEY_FRAME_S
    return recording.post_roll_s + file_s + waiting_s + SHIPPING_S
