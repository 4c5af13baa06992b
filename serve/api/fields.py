"""Pieces that several request and response models share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
)

from pipelines.colour import COLOURS
from pipelines.domain import SLUG_PATTERN, SightingFilter
from serve.api.times import micros

CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Address of the new thing."}
        }
    }
}
"""OpenAPI `responses` of a route that makes something."""


class RequestBody(BaseModel):
    """What a caller sends: unknown keys are an error, not silently dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _unicode(secret: SecretStr) -> SecretStr:
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        # JSON can spell half a character, which nothing behind can encode.
        raise ValueError("this is not valid Unicode text") from None
    return secret


SecretText = Annotated[SecretStr, AfterValidator(_unicode)]
"""A secret that a caller sends."""


def _without_defaults(schema: dict[str, Any]) -> None:
    for described in schema["properties"].values():
        described.pop("default", None)


class PatchBody(RequestBody):
    """What to change: a key left out stays as it is. The defaults of the fields only make the keys
    optional, and are not shown; `model_fields_set` has what was sent."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)


class ResponseBody(BaseModel):
    model_config = ConfigDict(frozen=True)


def printable(text: str) -> str:
    """Raises ValueError: the text has control characters."""
    if not text.isprintable():
        raise ValueError("control characters are not allowed")
    return text


MAX_NAME = 120

DisplayName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_NAME, strip_whitespace=True),
    AfterValidator(printable),
]
"""A name for people. PostgreSQL refuses NUL, terminals obey escapes: so no control characters."""

Remark = Annotated[
    str,
    StringConstraints(max_length=500, strip_whitespace=True),
    AfterValidator(printable),
]
"""A sentence of people to people; may be empty."""

# A slug has 40 characters; this leaves room for what makes an id unique.
_ID_STEM = 31


def new_slug(name: str, otherwise: str, taken: Collection[str]) -> str:
    """An id that is not `taken`: from a name for people, or `otherwise` where that gives none."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:_ID_STEM].strip("-")
    if slug and slug not in taken:
        return slug
    return f"{slug or otherwise}-{uuid4().hex[:8]}"


CameraPath = Annotated[
    str, Path(pattern=SLUG_PATTERN, description="Id of the camera.", examples=["gate"])
]
RulePath = Annotated[
    str, Path(pattern=SLUG_PATTERN, description="Id of the rule.", examples=["gate-entry"])
]

Moment = Annotated[
    AwareDatetime | None,
    Query(description="RFC 3339 time with an offset.", examples=["2026-01-31T08:00:00Z"]),
]

# Of `times.micros_between`.
DayBefore = Annotated[Moment, Query(description="Default: a day before `until`.")]
UntilNow = Annotated[Moment, Query(description="Default: now.")]

_BEFORE = "`next_cursor` of the page before."
PageCursor = Annotated[str | None, Query(max_length=200, description=_BEFORE)]
# A track's name takes up to 255 bytes, of which base64 makes 340.
LongPageCursor = Annotated[str | None, Query(max_length=600, description=_BEFORE)]
NextCursor = Annotated[
    str | None, Field(description="Give it as `cursor` for the next page; null: end.")
]

TRACK_PATTERN = r"^[A-Za-z0-9%._~-]+$"
"""As `pipelines.identity` makes them: whatever is not plain in a class is %-encoded."""
CameraFilter = Annotated[
    str | None, Query(pattern=SLUG_PATTERN, description="Only of this camera.")
]
ClassFilter = Annotated[
    str | None, Query(alias="class", min_length=1, max_length=64, description="Only this class.")
]
ColourFilter = Annotated[
    str | None, Query(pattern=f"^({'|'.join(COLOURS)})$", description="Only of this colour.")
]


def get_sighting_filter(
    camera: CameraFilter = None,
    label: ClassFilter = None,
    colour: ColourFilter = None,
    since: Annotated[
        Moment, Query(description="In sight at or after: RFC 3339 with an offset.")
    ] = None,
    until: Annotated[Moment, Query(description="In sight before: RFC 3339 with an offset.")] = None,
) -> SightingFilter:
    return SightingFilter(
        camera=camera,
        label=label,
        colour=colour,
        since_us=micros(since),
        until_us=micros(until),
    )


SightingFilterDep = Annotated[SightingFilter, Depends(get_sighting_filter)]
"""Filters of sightings, the same on every route."""
