"""What all sections of the settings have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65_535)]


class Section(BaseModel):
    """Immutable, and rejects unknown keys. Errors do not quote values: some are secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
