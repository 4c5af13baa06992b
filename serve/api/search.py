"""`/v1/search`: what did my cameras see that looks like this picture, like that object, or that
is called so."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, StringConstraints, ValidationError, model_validator
from starlette.datastructures import UploadFile

from cluster.core.roles import Permission
from pipelines.domain import SLUG_PATTERN
from pipelines.errors import InputError
from serve.api.audit.note import AuditNoteDep
from serve.api.before_mask import ClosedFootageDep
from serve.api.bound import TenantDecoder
from serve.api.fields import TRACK_PATTERN, RequestBody, ResponseBody, SightingFilterDep
from serve.api.images import Rgb
from serve.api.links import recording_address, snapshot_address
from serve.api.permissions import needs
from serve.api.ports import ScoredSighting
from serve.api.problems import MediaTypeError, quoted, responses
from serve.api.scope import TenantDep
from serve.api.times import rfc3339
from serve.api.upload_route import UploadRoute
from serve.api.uploads import MULTIPART, media_type
from serve.api.viewing import ViewingDep, shown_picture

# Embedders see 224 to 384 pixels; a whole photograph would only be bytes on the way to them.
MAX_QUERY_SIDE = 1024

router = APIRouter(
    tags=["search"],
    responses=responses(400, 401, 403, 413, 415, 422, 429, 503),
    route_class=UploadRoute,
    dependencies=[needs(Permission.OBJECT_SEARCH)],
)


class WordsQuery(RequestBody):
    """What to look for: by words, or by an object that was seen."""

    text: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=500, strip_whitespace=True),
    ] = Field(None, examples=["a person with a red jacket"])
    like: Annotated[
        str | None, StringConstraints(min_length=1, max_length=255, pattern=TRACK_PATTERN)
    ] = Field(None, description="`track` of an object, as in the query of the same name.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.text is None) == (self.like is None):
            raise ValueError("give either `text` or `like`")
        return self


class MatchView(ResponseBody):
    score: float = Field(description="Cosine similarity: 1 is the same picture.")
    camera: str
    label: str = Field(serialization_alias="class")
    first_seen: str
    last_seen: str
    track: str
    snapshot: str | None = Field(description="Address of the object's best picture.")
    colour: str | None = Field(description="What colour people would call it, if any.")
    recording: str = Field(description="Address of the recordings of its time.")


class SearchAnswer(ResponseBody):
    matches: list[MatchView]


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "Not needed with `like`.",
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
            "application/json": {"schema": WordsQuery.model_json_schema()},
        },
    }
}


@router.post(
    "/v1/search",
    summary="Search what was seen",
    openapi_extra=_BODY,
    responses=responses(404, 409),
)
async def search(
    request: Request,
    scope: TenantDep,
    only: SightingFilterDep,
    note: AuditNoteDep,
    like: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=255,
            pattern=TRACK_PATTERN,
            description="`track` of an object: find others that look like it.",
        ),
    ] = None,
    like_camera: Annotated[
        str | None,
        Query(pattern=SLUG_PATTERN, description="Whose track that is, where two cameras have it."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SearchAnswer:
    """By a picture of the object, by an object that was seen (`like`, without a body), or by text
    where the embedder has a text side."""
    embedder = scope.embedder
    query = like or await _question(request, scope.decoder)
    note.details |= _searched(query)
    known: tuple[str, str] | None = None
    if isinstance(query, WordsQuery) and query.text is not None:
        vector = await embedder.embed_text(query.text)
    elif isinstance(query, WordsQuery | str):
        track = query if isinstance(query, str) else str(query.like)
        found_object = await scope.tracks.object(track, like_camera)
        known = (found_object.sighting.camera, track)
        vector = await scope.memory.vector(*known)
    else:
        vector = await embedder.embed_image(query)
    found = await scope.memory.search(
        vector,
        # The object itself is the best match, and not wanted.
        limit + (known is not None),
        only,
    )
    others = [item for item in found if (item.sighting.camera, item.sighting.track) != known]
    return SearchAnswer(matches=[_match(item) for item in others[:limit]])


def _searched(query: WordsQuery | Rgb | str) -> dict[str, str]:
    """What is kept of a query in the audit log: its words, and of a picture nothing."""
    if isinstance(query, WordsQuery) and query.text is not None:
        return {"by": "words", "text": query.text}
    if isinstance(query, WordsQuery):
        return {"by": "object", "like": str(query.like)}
    return {"by": "object" if isinstance(query, str) else "picture"}


async def _question(request: Request, decoder: TenantDecoder) -> WordsQuery | Rgb:
    """The query in the body: words or an object, or the pixels of a picture."""
    kind = media_type(request)
    if kind == "application/json":
        return _words(await request.body())
    if kind != MULTIPART:
        raise MediaTypeError(
            "The body must be multipart/form-data or application/json, "
            f"not {quoted(kind) or 'untyped'}.",
            hint='With curl: -F image=@picture.jpg, or --json \'{"text": "a red car"}\'',
        )
    async with request.form() as form:
        upload = form.get("image")
        if not isinstance(upload, UploadFile):
            raise InputError(
                "The form has no file `image`.", hint="With curl: -F image=@picture.jpg"
            )
        return await decoder.decode(upload, lambda pixels: pixels, MAX_QUERY_SIDE)


def _words(body: bytes) -> WordsQuery:
    try:
        return WordsQuery.model_validate_json(body)
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
        snapshot=snapshot_address(seen.snapshot),
        colour=seen.colour,
        recording=recording_address(seen.camera, seen.first_seen_us, seen.last_seen_us),
    )


_PART = "[A-Za-z0-9][A-Za-z0-9._-]*"
SnapshotKey = Annotated[str, Path(max_length=512, pattern=rf"^{_PART}(/{_PART})*\.jpg$")]
"""As `cluster.stores.blobs.tenant` has it: no part begins with a dot, so no key climbs. Pictures
alone: files of recordings have addresses of their own, which end, and are sent piece by piece."""


@router.get(
    "/v1/snapshots/{key:path}",
    summary="A picture that a match names",
    response_class=Response,
    responses=responses(404) | {200: {"content": {"image/jpeg": {}}, "description": "JPEG"}},
)
async def sighting_snapshot(
    key: SnapshotKey, scope: TenantDep, viewing: ViewingDep, closed: ClosedFootageDep
) -> Response:
    """Only pictures of your own tenant: the key is looked up in its storage and nowhere else.
    Persons are hidden in it as the tenant's policy says; the picture of a person is hidden as a
    whole."""
    await scope.check_picture(key)
    await closed.require_picture(scope, key)
    jpeg, sight = await shown_picture(scope, viewing, key)
    kept = "private, max-age=86400" if sight.cacheable else "no-store"
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": kept})
