"""Whether a legal hold keeps a clip: judged by what the clip shows."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pydantic import ValidationError

from cluster.clips.clips import ClipFile, clip_key
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.errors import NotFoundError
from pipelines.retention import HeldSpan, is_held


async def is_clip_held(
    blobs: TenantBlobs,
    alarm: UUID,
    holds: Sequence[HeldSpan],
    camera: str,
    bounds: tuple[int, int],
) -> bool:
    """Whether a hold touches what a clip shows. Its description is read only where a hold touches
    what it could show; where that does not say what it shows, the hold keeps it.

    Args:
        camera: as for `is_held`.
        bounds: first and last moment that it could show.

    Raises:
        UnavailableError: the description cannot be read now.
    """
    if not is_held(*bounds, holds, camera):
        return False
    shown = await _shown(blobs, alarm)
    return is_held(*(shown or bounds), holds, camera)


async def _shown(blobs: TenantBlobs, alarm: UUID) -> tuple[int, int] | None:
    try:
        found = ClipFile.model_validate_json(await blobs.get(clip_key(alarm, "clip.json")))
    except (NotFoundError, ValidationError):
        return None
    return (found.from_us, found.to_us) if found.from_us <= found.to_us else None
