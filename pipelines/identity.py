"""Deterministic ids derived from what was seen, so that a replay of a recording yields the same.

They depend on no process-local counter, and on no clock but the frame's.
"""

from __future__ import annotations

from collections.abc import Container
from urllib.parse import quote
from uuid import UUID, uuid5

from pipelines.domain import Alarm, CameraKey, PixelBox, Slug
from pipelines.geometry import foot_point

# Generated once at random for Atalaia. Changing it changes the id of every alarm ever raised.
ALARM_NAMESPACE = UUID("6f0c2a58-6c7e-4d0b-9a35-0e6a9d1f7c42")

# Likewise, for images of objects.
OBJECT_NAMESPACE = UUID("b6a3f1d2-54f4-4d59-9d0c-0f5e9a7f2c11")

# Cells per axis. Position only has to distinguish objects that start in the same millisecond, and
# coarse cells make it unlikely that two runtimes that differ by a pixel derive different keys.
PLACE_CELLS = 16


def track_key(
    first_seen_us: int,
    label: str,
    box: PixelBox,
    size: tuple[int, int],
    taken: Container[str] = (),
) -> str:
    """Key of a track: millisecond of its first frame, class, and position on a 16x16 grid.

    Args:
        first_seen_us: capture time of the first frame, UTC microseconds.
        label: class name at that time.
        box: in source pixels.
        size: width, height in source pixels.
        taken: keys already in use for this camera. Of two objects with the same key, the later one
            gets the next number; process them in an order that does not depend on the order of
            detections.

    Returns:
        `<ms, hex>-<cell, two hex digits>-<number>-<label, percent-encoded>`; the label comes last,
        because it is the only part that may contain a dash.
    """
    foot = foot_point(box)
    column, row = (
        min(PLACE_CELLS - 1, max(0, int(foot[axis] * PLACE_CELLS / size[axis]))) for axis in (0, 1)
    )
    start = f"{first_seen_us // 1_000:011x}-{column:x}{row:x}"
    name = quote(label, safe="")
    number = 0
    while f"{start}-{number}-{name}" in taken:
        number += 1
    return f"{start}-{number}-{name}"


def alarm_id(key: CameraKey, rule: Slug, track: str, episode: int) -> UUID:
    """The id of an alarm, derived from camera, rule, track and episode.

    Slugs and track keys contain no slash, so different alarms cannot collide.
    """
    return uuid5(ALARM_NAMESPACE, f"{key.tenant}/{key.camera}/{rule}/{track}/{episode}")


def next_episode(alarm: Alarm) -> Alarm:
    """The alarm as the next one of its track and rule, where its id belongs to another event."""
    episode = alarm.episode + 1
    id = alarm_id(CameraKey(alarm.tenant, alarm.camera), alarm.rule, alarm.track, episode)
    return alarm.model_copy(update={"episode": episode, "id": id})


def alarm_snapshot_key(alarm: UUID) -> str:
    """Blob key of an alarm's image."""
    return f"alarms/{alarm}.jpg"


def object_snapshot_key(camera: Slug, track: str) -> str:
    """Blob key of an object's best image; stable, so that a newer image replaces it.

    Hashed, because a track key may contain characters that a blob key may not.
    """
    return f"objects/{camera}/{uuid5(OBJECT_NAMESPACE, track).hex}.jpg"
