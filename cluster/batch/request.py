"""What a job is asked for, and what it says at its end."""

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
    AUTO = "auto"
    """`shared` where the detector of the live cameras runs this model on a GPU, else `own`."""
    OWN = "own"
    """A model in each worker, which stand back on the CPU."""
    SHARED = "shared"
    """The detector of the live cameras, behind their frames."""


class Request(Frozen):
    """A camera's pictures, looked at again.

    Attributes:
        from_us, to_us: capture times, UTC microseconds; None: no limit.
        files: files, folders, globs or fsspec URLs; empty: the camera's recordings.
        warm_up_s: how much before `from_us` is looked at, so that tracks and rules are in the state
            in which they would be; None: as long as the rules need.
        start_us: when the first of the files starts, UTC microseconds; None: they say it.
        model: path or name of other weights than the live detector's.
        rules: in place of the camera's own.
        dry_run: write nothing, only say what would be found.
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
        """As `/v1/jobs` tells it."""
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


def parse_request(**what: Any) -> Request:
    """A request, checked. Raises InputError."""
    try:
        return Request(**what)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise InputError(f"this cannot be asked: {wrong}.") from None


def read_rules(text: str) -> tuple[Rule, ...]:
    """The rules in a JSON list, as `GET …/rules` gives them. Raises InputError."""
    try:
        return _RULES.validate_json(text)
    except ValueError as error:
        raise InputError(f"these are no rules: {error}") from None


class SourceLine(Frozen):
    """One source in the summary; `start`: RFC 3339."""

    name: str
    start: str
    start_from: StartFrom


class Summary(Frozen):
    """What a job did.

    Attributes:
        sources: how many videos; `first_sources` tells of the first of them.
        rejected: files that could not be looked at.
        problems: videos that broke off, or could not be opened any more.
        chunks: steps; `reused`: of them, those that an earlier job had done.
        decoded, looked: pictures; `corrupt`: packets that could not be decoded.
        late: pictures that were looked at but overlap with those of the file before.
        alarms: by rule; `new_alarms`: those that the records did not have.
        objects, paths: written; `not_remembered`: objects that could not be.
        media_s: seconds of video; `wall_s`: it took; `core_s`: seconds of CPU of all workers.
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
        """How many seconds of video one second took."""
        return self.media_s / self.wall_s if self.wall_s else 0.0

    @property
    def frames_per_s(self) -> float:
        """Pictures looked at."""
        return self.looked / self.wall_s if self.wall_s else 0.0
