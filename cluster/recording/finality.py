"""From when on the recordings around a moment are all there are."""

from __future__ import annotations

from cluster.core.settings import RecordingSettings
from cluster.recording.camera import recorded, segment_us
from pipelines.domain import Polygon, Recording, RecordingMode

# A segment ends at a key frame: cameras send one each 1 to 4 s, and what sends them more rarely
# than each 12 s is transcoded with one each 2 s.
KEY_FRAME_S = 12.0
# Judging, the upload to an object store, and the row.
SHIPPING_S = 15.0


def settled_after_s(
    settings: RecordingSettings, recording: Recording, masks: tuple[Polygon, ...] = ()
) -> float:
    """Seconds after an alarm's frame, from which on what is not in the records was not recorded.

    Until then a clip may still come. 0 where the camera records nothing. It holds while storage and
    records can be reached; where they cannot, files wait and come later.
    """
    if not recorded(recording, masks):
        return 0.0
    waiting_s = 0.0
    if recording.mode is RecordingMode.ALARM:
        waiting_s = recording.pre_roll_s + settings.grace_s
    # The last file that counts may begin right before the post-roll's end.
    file_s = segment_us(settings, recording) / 1e6 + KEY_FRAME_S
    return recording.post_roll_s + file_s + waiting_s + SHIPPING_S
