"""The section `erasure` of the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cluster.core.section import Section

_Days = Annotated[float, Field(ge=0, le=36_500)]


class ErasureSettings(Section):
    """Erasure of objects and tenants on request."""

    backup_days: _Days | None = Field(
        None,
        description="how long backups of database, blobs and vectors are kept; receipts name the "
        "day on which the last copy ends. Not set: receipts say that it is not known",
    )
    log_days: _Days | None = Field(
        None, description="the same of the log files, which are rotated by size"
    )
    settle_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        180.0,
        description="how long what is on its way may take to arrive, before the stores are "
        "searched again: longer than every time-out between a camera and the stores",
    )
    interval_s: Annotated[float, Field(ge=0.1, le=3600)] = Field(
        5.0, description="between two looks at what is to be erased"
    )
