"""Pieces that several request and response models share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from pipelines.domain import SLUG_PATTERN

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


class ResponseBody(BaseModel):
    model_config = ConfigDict(frozen=True)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters are not allowed")
    return text


DisplayName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=120, strip_whitespace=True),
    AfterValidator(_printable),
]
"""A name for people. PostgreSQL refuses NUL, terminals obey escapes: so no control characters."""

CameraPath = Annotated[
    str, Path(pattern=SLUG_PATTERN, description="Id of the camera.", examples=["gate"])
]
RulePath = Annotated[
    str, Path(pattern=SLUG_PATTERN, description="Id of the rule.", examples=["gate-entry"])
]
