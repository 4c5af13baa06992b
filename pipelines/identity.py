"""Names made from what was seen, so that a replay of the same recording says the same names.

No counter of a process goes into them, and no clock but the frame's.
"""

from __future__ import annotations

from collections.abc import Container
from urllib.parse import quote
from uuid import UUID, uuid5

from pipelines.domain import CameraKey, PixelBox, Slug
from pipelines.geometry import foot_point

# Drawn once at random for Atalaia. Changing it renames every alarm ever raised.
ALARM_NAMESPACE = UUID("6f0c2a58-6c7e-4d0b-9a35-0e6a9d1f7c42")

# Likewise, for pictures of objects.
OBJECT_NAMESPACE = UUID("b6a3f1d2-54f4-4d59-9d0c-0f5e9a7f2c11")

# Cells per axis. Only objects that start in the same millisecond need telling apart by place, and
# the coarser the cells, the seldomer two runtimes that differ by a pixel name different ones.
PLACE_CELLS = 16


def track_key(
    first_seen_us: int,
    label: str,
    box: PixelBox,
    size: tuple[int, int],
    taken: Container[str] = (),
) -> str:
    """Key of a track: millisecond of its first frame, class, and place on a 16x16 grid.

    Args:
        first_seen_us: capture time of the first frame, UTC microseconds.
        label: class name at that time.
        box: in source pixels.
        size: width, height in source pixels.
        taken: keys of the same camera in use. Of two objects that would get the same key, the one
            named later gets the next number; name them in an order that does not depend on the
            order of detections.

    Returns:
        `<ms, hex>-<cell, two hex digits>-<number>-<label, percent-encoded>`; the label stands last
        because it is the one part that may hold a dash.
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
    """The one name of an alarm: which rule of which camera, which track, the how many-th time.

    Slugs and track keys hold no slash, so no two different alarms spell the same name.
    """
    return uuid5(ALARM_NAMESPACE, f"{key.tenant}/{key.camera}/{rule}/{track}/{episode}")


def object_snapshot_key(camera: Slug, track: str) -> str:
    """Key of an object's best picture in its tenant's blob storage; said again, it replaces.

    A track's key may hold what a blob's key may not, hence the hash.
    """
    return f"objects/{camera}/{uuid5(OBJECT_NAMESPACE, track).hex}.jpg"
