"""`/v1/detect`: the detector, for one picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile
from pydantic import Field

from cluster.core.roles import Permission
from pipelines.domain import Detections
from pipelines.imaging import letterbox_rgb
from serve.api.fields import ResponseBody
from serve.api.permissions import needs
from serve.api.problems import MediaTypeError, quoted, responses
from serve.api.scope import TenantDep
from serve.api.upload_route import UploadRoute
from serve.api.uploads import MULTIPART, media_type

router = APIRouter(
    tags=["detect"],
    responses=responses(400, 401, 403, 413, 415, 422, 429, 503),
    route_class=UploadRoute,
    dependencies=[needs(Permission.IMAGE_DETECT)],
)


class DetectedObject(ResponseBody):
    label: str = Field(serialization_alias="class", examples=["person"])
    confidence: float
    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the sent picture as a viewer shows it, that is "
        "turned by its EXIF orientation.",
        examples=[[48.6, 398.5, 245.3, 902.7]],
    )


class DetectAnswer(ResponseBody):
    model: str = Field(examples=["yolov8n"])
    detections: list[DetectedObject] = Field(description="Surest first.")


def require_multipart(request: Request) -> None:
    """Raises MediaTypeError where the body is no form, which would only look like an empty one."""
    kind = media_type(request)
    if kind != MULTIPART:
        raise MediaTypeError(
            f"The body must be multipart/form-data, not {quoted(kind) or 'without a type'}.",
            hint="With curl: -F image=@picture.jpg",
        )


@router.post(
    "/v1/detect",
    summary="Detect objects in a picture",
    dependencies=[Depends(require_multipart)],
)
async def detect(
    scope: TenantDep,
    image: Annotated[UploadFile, File(description="JPEG, PNG, WebP or BMP.")],
    confidence: Annotated[
        float | None, Query(ge=0, le=1, description="At least this sure.", allow_inf_nan=False)
    ] = None,
    classes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]] | None,
        Query(max_length=100, description="Only these classes; give the key once for each."),
    ] = None,
) -> DetectAnswer:
    """The model and settings that watch the cameras. `confidence` can only raise the detector's own
    threshold."""
    detector = scope.detector
    # Asked first, so that the picture is scaled where it is decoded and only the small one kept.
    model = await detector.info()
    frame = await scope.decoder.decode(
        image, lambda pixels: letterbox_rgb(pixels, model.input_size)
    )
    found = await detector.detect_image(frame)
    return DetectAnswer(
        model=model.name, detections=_objects(found, confidence or 0.0, frozenset(classes or ()))
    )


def _objects(found: Detections, confidence: float, classes: frozenset[str]) -> list[DetectedObject]:
    objects = [
        DetectedObject(
            label=label,
            confidence=round(float(sure), 4),
            box=tuple(round(float(edge), 2) for edge in box),
        )
        for label, sure, box in zip(found.labels, found.confidence, found.xyxy, strict=True)
        if sure >= confidence and (not classes or label in classes)
    ]
    return sorted(objects, key=lambda item: -item.confidence)
