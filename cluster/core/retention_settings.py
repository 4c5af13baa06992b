"""The section `retention` of the settings."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.core.section import Section
from pipelines.retention import Limits, PlatformLimits


class RetentionSettings(Section):
    """How long things are kept. Kinds: alarms, snapshots, clips, recordings, objects, paths,
    embeddings, exports, coverage. The audit log is always kept."""

    days: Limits = Field(
        default_factory=dict,
        description="days by kind, where a tenant's policy says nothing; absent: without end",
    )
    min_days: Limits = Field(
        default_factory=dict,
        description="the least that a tenant may choose, by kind; that of clips and snapshots also "
        "binds alarms, that of embeddings and snapshots objects",
    )
    max_days: Limits = Field(
        default_factory=dict, description="the most that a tenant may choose, by kind"
    )
    interval_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        600.0, description="between two looks at what has reached its age"
    )
    high_water: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="part of the disk of local blobs; above it what policy would keep is removed, "
        "down to `low_water`. Not set: never",
    )
    low_water: Annotated[float, Field(gt=0, lt=1)] = 0.85
    warn_at: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.95,
        description="part of the disk of local blobs; above it a system alarm is raised. Where "
        "`high_water` is set, that is the mark",
    )
    capacity_mb: Annotated[int, Field(ge=1)] | None = Field(
        None, description="size that local blobs may have; default: that of their disk"
    )

    @property
    def limits(self) -> PlatformLimits:
        return PlatformLimits(default=self.days, least=self.min_days, most=self.max_days)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.high_water is not None and self.low_water >= self.high_water:
            raise ValueError("low_water must be below high_water")
        for kind, most in self.max_days.items():
            least = self.limits.least_of(kind)
            if least is not None and most is not None and least > most:
                raise ValueError(
                    f"min_days of {kind.value}, or of what goes with it, is above its max_days"
                )
        return self
