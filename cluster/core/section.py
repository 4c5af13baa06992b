"""What all sections of the settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Immutable, and rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
