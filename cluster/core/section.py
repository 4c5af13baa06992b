"""What all sections of the settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Immutable, and rejects unknown keys. Errors do not quote values: some are secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
