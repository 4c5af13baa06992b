"""`/v1/model`: what the detector runs, and another model in its place, without a frame lost."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from cluster.core.roles import Permission
from cluster.inference.model_choice import ModelChoice
from pipelines.errors import InputError, ModelError
from serve.api.audit.note import AuditNoteDep
from serve.api.fields import RequestBody, ResponseBody
from serve.api.permissions import needs
from serve.api.ports import LoadedModel
from serve.api.problems import responses
from serve.api.scope import PlatformDep
from serve.api.state import DepsDep

router = APIRouter(
    tags=["platform"],
    responses=responses(401, 403, 422, 429, 503),
    dependencies=[needs(Permission.MODEL_MANAGE)],
)


class ModelRefusedError(InputError):
    """The file cannot be used; the model that ran keeps serving."""

    code = ModelError.code


class NewModel(RequestBody):
    weights: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] = Field(
        description="Path on the detector's machines, or a name that ultralytics publishes.",
        examples=["/models/mine.pt"],
    )


class ModelView(ResponseBody):
    name: str
    sha256: str
    runtime: str
    precision: str
    input_size: tuple[int, int] = Field(description="Width and height in pixels.")
    labels: list[str]
    error: str | None = Field(None, description="Why the last model that was offered was refused.")


def _view(model: LoadedModel) -> ModelView:
    return ModelView(
        name=model.name,
        sha256=model.sha256,
        runtime=model.runtime,
        precision=model.precision,
        input_size=model.input_size,
        labels=list(model.labels),
        error=model.error,
    )


@router.get("/v1/model", summary="What the detector runs")
async def show_model(platform: PlatformDep, deps: DepsDep) -> ModelView:
    return _view(await deps.detector.info())


@router.put("/v1/model", summary="Replace the model", responses=responses(400, 413))
async def replace_model(
    body: NewModel, platform: PlatformDep, deps: DepsDep, note: AuditNoteDep
) -> ModelView:
    """Every replica reads, exports and tries the new model, then changes to it between two frames.

    A file that cannot be used is refused with the reason, and the model that runs keeps serving.
    Replicas that start later run the new model too, until the settings name other weights.
    """
    note.object_id = body.weights
    try:
        loaded = await deps.detector.load(body.weights)
    except ModelError as error:
        raise ModelRefusedError(error.message, hint=error.hint) from None
    note.committed = True
    note.details["sha256"] = loaded.sha256
    await ModelChoice(deps.redis, deps.settings.detector.weights).choose(body.weights)
    return _view(loaded)
