"""The request and the summary of a job."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from cluster.batch.sources import Rejected, StartFrom
from cluster.core.redaction import redact
from pipelines.domain import Frozen, Rule, Slug
from pipelines.errors import InputError
from pipelines.times import rfc3339

_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(tuple[Rule, ...])


class DetectorChoice(StrEnum):
    """Which detector a job uses."""

    AUTO = "auto"
    """`shared` if the live detector runs this model on a GPU, else `own`."""
    OWN = "own"
    """A model in each worker, at low CPU priority."""
    SHARED = "shared"
    """The detector of the live cameras, which serves live frames first."""


class Request(Frozen):
    """Reprocessing of one camera's video.

    Attributes:
        from_us, to_us: capture times, UTC microseconds; None: no limit.
        files: files, folders, globs or fsspec URLs; empty: the camera's recordings.
        warm_up_s: seconds before `from_us` to analyse, so that tracks and rules are in the right
            state; None: as long as the rules need.
        start_us: when the first file starts, UTC microseconds; None: read from the files.
        model: path or name of weights other than the live detector's.
        rules: replace the camera's own; their classes become those of the model.
        dry_run: write nothing, only report what would be found.
    """

    tenant: Slug
    camera: Slug
    from_us: int | None = None
    to_us: int | None = None
    warm_up_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    files: tuple[str, ...] = ()
    start_us: int | None = None
    model: str | None = None
    rules: tuple[Rule, ...] | None = None
    dry_run: bool = False
    detector: DetectorChoice = DetectorChoice.AUTO

    @model_validator(mode="after")
    def _times_fit(self) -> Request:
        if self.from_us is not None and self.to_us is not None and self.to_us <= self.from_us:
            raise ValueError("`to` must be after `from`")
        return self

    def as_json(self) -> dict[str, Any]:
        """The request as `/v1/jobs` shows it."""
        fields: dict[str, Any] = {
            "camera": self.camera,
            "files": [redact(file) for file in self.files],
        }
        for name, moment_us in (("from", self.from_us), ("to", self.to_us)):
            if moment_us is not None:
                fields[name] = rfc3339(moment_us)
        if self.model is not None:
            fields["model"] = self.model
        return {name: value for name, value in fields.items() if value}


def parse_request(**fields: Any) -> Request:
    """A validated request. Raises InputError."""
    try:
        return Request(**fields)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise InputError(f"invalid request: {wrong}.") from None


def read_rules(text: str) -> tuple[Rule, ...]:
    """Rules from a JSON list, in the format of `GET …/rules`. Raises InputError."""
    try:
        return _RULES.validate_json(text)
    except ValueError as error:
        raise InputError(f"invalid rules: {error}") from None


class SourceLine(Frozen):
    """One source in the summary. `start`: RFC 3339."""

    name: str
    start: str
    start_from: StartFrom


class Summary(Frozen):
    """The result of a job.

    Attributes:
        sources: number of videos; `first_sources` describes the first of them.
        rejected: files that are not usable videos.
        problems: videos that ended early, or could no longer be opened.
        chunks: number of chunks; `reused`: how many of them an earlier job had finished.
        decoded, looked: frames decoded, frames analysed; `corrupt`: packets that did not decode.
        late: analysed frames that overlap with the previous file, skipped.
        alarms: number per rule; `new_alarms`: alarms that were not in the database before.
        objects, paths: written; `not_remembered`: objects that could not be indexed.
        media_s: seconds of video; `wall_s`: duration; `core_s`: CPU seconds of all workers.
    """

    tenant: str
    camera: str
    dry_run: bool
    detector: DetectorChoice
    model: str
    sources: int
    first_sources: tuple[SourceLine, ...]
    rejected: tuple[Rejected, ...] = ()
    problems: tuple[Rejected, ...] = ()
    chunks: int = 0
    reused: int = 0
    decoded: int = 0
    looked: int = 0
    corrupt: int = 0
    late: int = 0
    alarms: dict[str, int] = Field(default_factory=dict)
    new_alarms: int = 0
    objects: int = 0
    paths: int = 0
    not_remembered: int = 0
    media_s: Annotated[float, Field(ge=0)] = 0.0
    wall_s: Annotated[float, Field(ge=0)] = 0.0
    core_s: Annotated[float, Field(ge=0)] = 0.0

    @property
    def times_real_time(self) -> float:
        """Seconds of video per second of the job."""
        return self.media_s / self.wall_s if self.wall_s else 0.0

    @property
    def frames_per_s(self) -> float:
        """Analysed frames per second of the job."""
        return self.looked / self.wall_s if self.wall_s else 0.0
