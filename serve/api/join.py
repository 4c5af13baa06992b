"""`/v1/cameras/{camera}/join`: a LiveKit token that can watch one room and do nothing else."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from livekit.api import AccessToken, VideoGrants
from pydantic import Field

from cluster.core.roles import Permission
from cluster.core.settings import LiveKitSettings
from pipelines.errors import ConflictError
from serve.api.fields import CameraPath, ResponseBody
from serve.api.permissions import needs
from serve.api.ports import Deps
from serve.api.problems import responses
from serve.api.scope import TenantDep
from serve.api.state import DepsDep
from serve.api.times import rfc3339

router = APIRouter(
    tags=["cameras"],
    responses=responses(401, 403, 404, 422, 429, 503),
)


class JoinAnswer(ResponseBody):
    url: str = Field(description="WebSocket address of LiveKit.", examples=["wss://live.example"])
    room: str = Field(examples=["acme.gate"])
    token: str = Field(description="Subscribe-only, for this room. A secret: keep it out of URLs.")
    expires_at: str = Field(description="After this the token starts no new session.")
    masked: bool = Field(description="Whether privacy masks are painted into the video.")


def viewer_token(livekit: LiveKitSettings, room: str, identity: str, ttl_s: int) -> str:
    """A token for a camera's room that can subscribe, and neither publish nor send data.

    Args:
        identity: a new one each time: LiveKit ends an earlier session of the same identity.
    """
    grants = VideoGrants(
        room_join=True,
        room=room,
        can_subscribe=True,
        can_publish=False,
        can_publish_data=False,
        can_update_own_metadata=False,
    )
    return (
        AccessToken(livekit.api_key, livekit.api_secret.get_secret_value())
        .with_identity(identity)
        .with_grants(grants)
        .with_ttl(timedelta(seconds=ttl_s))
        .to_jwt()
    )


def _answer(deps: Deps, room: str, identity: str, *, masked: bool) -> JoinAnswer:
    ttl_s = deps.settings.api.join_token_ttl_s
    return JoinAnswer(
        url=deps.settings.livekit.browser_url,
        room=room,
        token=viewer_token(deps.settings.livekit, room, identity, ttl_s),
        expires_at=rfc3339(deps.clock.now_us() + ttl_s * 1_000_000),
        masked=masked,
    )


@router.post(
    "/v1/cameras/{camera}/join",
    dependencies=[needs(Permission.LIVE_WATCH)],
    summary="A token to watch a camera live",
)
async def join(camera: CameraPath, scope: TenantDep, deps: DepsDep) -> JoinAnswer:
    """Connect with any LiveKit client. The picture is track `main`, with the camera's privacy masks
    painted in; detections come on the data track `detections`, each with the capture time of the
    frame it belongs to.

    The token is for now: ask for another one each time you join. Who watches is removed from the
    room when the key or the session of this request ends, or its rights change."""
    found = await scope.records.camera(camera)
    return _answer(deps, found.key.room, scope.new_viewer(), masked=bool(found.masks))


@router.post(
    "/v1/cameras/{camera}/join/unmasked",
    dependencies=[needs(Permission.LIVE_UNMASKED)],
    summary="A token to watch a camera live without its privacy masks",
    responses=responses(409),
)
async def join_unmasked(camera: CameraPath, scope: TenantDep, deps: DepsDep) -> JoinAnswer:
    """A room that shows track `main` without masks while somebody is in it; nothing else is in
    this room. Frames have the same capture times in both rooms, so detections of the other fit.
    409: the camera has no masks."""
    found = await scope.records.camera(camera)
    if not found.masks:
        raise ConflictError(
            f"Camera '{camera}' has no privacy masks.",
            hint=f"POST /v1/cameras/{camera}/join shows all that it sees.",
        )
    return _answer(deps, found.key.unmasked_room, scope.new_viewer(), masked=False)
