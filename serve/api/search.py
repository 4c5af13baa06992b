"""`/v1/search`: what did my cameras see that looks like this, or that is called so."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, Field, StringConstraints, ValidationError
from starlette.datastructures import UploadFile

from pipelines.domain import SLUG_PATTERN
from pipelines.errors import InputError
from serve.api.auth import DepsDep, TenantDep
from serve.api.detect import DecoderDep
from serve.api.fields import RequestBody, ResponseBody
from serve.api.images import ImageDecoder
from serve.api.ports import Deps, ScoredSighting, Vector
from serve.api.problems import MediaTypeError, responses
from serve.api.times import rfc3339, to_us

# Embedders look at 224 to 384 pixels; a whole photograph would only be bytes on the way to them.
MAX_QUERY_SIDE = 1024

router = APIRouter(tags=["search"], responses=responses(400, 401, 403, 413, 415, 422, 429, 503))


class TextQuery(RequestBody):
    text: Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)] = (
        Field(examples=["a person with a red jacket"])
    )


class MatchView(ResponseBody):
    score: float = Field(description="Cosine similarity: 1 is the same picture.")
    camera: str
    label: str = Field(serialization_alias="class")
    first_seen: str
    last_seen: str
    track: str
    snapshot: str | None = Field(description="Address of the object's best picture.")


class SearchAnswer(ResponseBody):
    matches: list[MatchView]


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "A picture of the object: JPEG, PNG, WebP or BMP.",
                        }
                    },
                }
            },
            "application/json": {"schema": TextQuery.model_json_schema()},
        },
    }
}


@router.post("/v1/search", summary="Search what was seen", openapi_extra=_BODY)
async def search(
    request: Request,
    scope: TenantDep,
    deps: DepsDep,
    decoder: DecoderDep,
    camera: Annotated[str | None, Query(pattern=SLUG_PATTERN)] = None,
    label: Annotated[
        str | None,
        Query(alias="class", min_length=1, max_length=64, description="Only this class."),
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="Seen at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Seen before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SearchAnswer:
    """By a picture of the object, or by text where the embedder has a text side."""
    vector = await _query_vector(request, deps, decoder)
    found = await deps.memory.search(
        scope.tenant,
        vector,
        limit,
        camera=camera,
        label=label,
        since_us=max(0, to_us(since)) if since else None,
        until_us=max(0, to_us(until)) if until else None,
    )
    return SearchAnswer(matches=[_match(item) for item in found])


async def _query_vector(request: Request, deps: Deps, decoder: ImageDecoder) -> Vector:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await deps.embedder.embed_text(_text(await request.body()))
    if kind != "multipart/form-data":
        raise MediaTypeError(
            f"The body must be multipart/form-data or application/json, not {kind or 'untyped'}.",
            hint='With curl: -F image=@picture.jpg, or --json \'{"text": "a red car"}\'',
        )
    async with request.form(max_files=1, max_fields=8) as form:
        upload = form.get("image")
        if not isinstance(upload, UploadFile):
            raise InputError(
                "The form has no file `image`.", hint="With curl: -F image=@picture.jpg"
            )
        pixels = await decoder.decode(upload, MAX_QUERY_SIDE)
    return await deps.embedder.embed_image(pixels)


def _text(body: bytes) -> str:
    try:
        return TextQuery.model_validate_json(body).text
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError(
            [{**item, "loc": ("body", *item["loc"])} for item in errors]
        ) from None


def _match(item: ScoredSighting) -> MatchView:
    seen = item.sighting
    return MatchView(
        score=round(float(item.score), 6),
        camera=seen.camera,
        label=seen.label,
        first_seen=rfc3339(seen.first_seen_us),
        last_seen=rfc3339(seen.last_seen_us),
        track=seen.track,
        snapshot=f"/v1/snapshots/{seen.snapshot}" if seen.snapshot else None,
    )


_PART = "[A-Za-z0-9][A-Za-z0-9._-]*"
SnapshotKey = Annotated[str, Path(max_length=512, pattern=f"^{_PART}(/{_PART})*$")]
"""As `cluster.blobs` has it: no part begins with a dot, so no key climbs."""


@router.get(
    "/v1/snapshots/{key:path}",
    summary="A picture that a match names",
    response_class=Response,
    responses=responses(404) | {200: {"content": {"image/jpeg": {}}, "description": "JPEG"}},
)
async def sighting_snapshot(key: SnapshotKey, scope: TenantDep, deps: DepsDep) -> Response:
    """Only pictures of your own tenant: the key is looked up in its storage and nowhere else."""
    jpeg = await deps.blobs(scope.tenant).get(key)
    return Response(
        jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"}
    )
