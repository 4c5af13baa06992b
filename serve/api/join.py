"""`/v1/cameras/{camera}/join`: a LiveKit token that can watch one room and do nothing else."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from livekit.api import AccessToken, VideoGrants
from pydantic import Field

from cluster.core.roles import Permission
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey
from serve.api.fields import CameraPath, ResponseBody
from serve.api.permissions import needs
from serve.api.problems import responses
from serve.api.scope import TenantDep
from serve.api.state import DepsDep
from serve.api.times import rfc3339

router = APIRouter(
    tags=["cameras"],
    responses=responses(401, 403, 404, 422, 429, 503),
    dependencies=[needs(Permission.LIVE_WATCH)],
)


class JoinAnswer(ResponseBody):
    url: str = Field(description="WebSocket address of LiveKit.", examples=["wss://live.example"])
    room: str = Field(examples=["acme.gate"])
    token: str = Field(description="Subscribe-only, for this room. A secret: keep it out of URLs.")
    expires_at: str = Field(description="After this the token starts no new session.")


def viewer_token(livekit: LiveKitSettings, key: CameraKey, identity: str, ttl_s: int) -> str:
    """A token for the camera's room that can subscribe, and neither publish nor send data.

    Args:
        identity: a new one each time: LiveKit ends an earlier session of the same identity.
    """
    grants = VideoGrants(
        room_join=True,
        room=key.room,
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


@router.post("/v1/cameras/{camera}/join", summary="A token to watch a camera live")
async def join(camera: CameraPath, scope: TenantDep, deps: DepsDep) -> JoinAnswer:
    """Connect with any LiveKit client. The picture is track `main`; detections come on the data
    track `detections`, each with the capture time of the frame it belongs to.

    The token is for now: ask for another one each time you join. Who watches is removed from the
    room when the key or the session of this request ends, or its role changes."""
    key = (await scope.records.camera(camera)).key
    ttl_s = deps.settings.api.join_token_ttl_s
    return JoinAnswer(
        url=deps.settings.livekit.browser_url,
        room=key.room,
        token=viewer_token(deps.settings.livekit, key, scope.new_viewer(), ttl_s),
        expires_at=rfc3339(deps.clock.now_us() + ttl_s * 1_000_000),
    )
