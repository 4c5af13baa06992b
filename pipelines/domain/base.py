"""Building blocks of the vocabulary: identities, units, and the frozen base model."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

SLUG_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
Slug = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
"""Id of a tenant, camera or rule. Contains no dot, so `<tenant>.<camera>` is unambiguous."""

Micros = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""UTC microseconds since 1970, within the range of a database's BIGINT."""
UnitFloat = Annotated[float, Field(ge=0.0, le=1.0)]
NormalizedPoint = tuple[UnitFloat, UnitFloat]
PixelBox = tuple[float, float, float, float]
"""x1, y1, x2, y2 with x1 < x2 and y1 < y2."""


class Frozen(BaseModel):
    """Immutable, and rejects unknown keys: a typo is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CameraKey(NamedTuple):
    """A camera and its tenant. Identifies cameras throughout the cluster."""

    tenant: str
    camera: str

    @property
    def room(self) -> str:
        """Name of the LiveKit room and of the media gateway's stream."""
        return f"{self.tenant}.{self.camera}"

    @property
    def unmasked_room(self) -> str:
        """Name of the LiveKit room that shows a camera with privacy masks without them."""
        return f"{self.room}.unmasked"

    @classmethod
    def from_room(cls, room: str) -> CameraKey | None:
        """The camera of a room; None if the name is not one of ours."""
        tenant, dot, camera = room.partition(".")
        slug = re.compile(SLUG_PATTERN)
        if not dot or not slug.fullmatch(tenant) or not slug.fullmatch(camera):
            return None
        return cls(tenant, camera)


class WorkOwner(NamedTuple):
    """Whose work a call to a model is; models share their time by it.

    Attributes:
        camera: None for an image that is of no camera, e.g. one that came over HTTP.
    """

    tenant: str
    camera: str | None = None
