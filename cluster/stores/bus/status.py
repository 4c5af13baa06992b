"""The state of every camera, as the controller sees it and the API shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from redis.asyncio import Redis

from cluster.core.log import get_logger
from cluster.stores.bus.connection import redis_errors
from cluster.stores.bus.keys import cameras_key
from pipelines.domain import CameraState, Frozen, RecordingStatus, Slug

# The controller writes every 2 s. A board that was not written for this long is empty,
# rather than "live" for a camera that nobody watches.
BOARD_LIFE_S = 30
_LOG = get_logger("bus.status")

Count = Annotated[int, Field(ge=0)]


class CameraStatus(Frozen):
    """How one camera does. Times: UTC microseconds; sizes: source pixels; 0 where unknown.

    Attributes:
        reason: for people, without credentials; empty where all is well.
        since_us: when it came into this state.
        fps: frames per second that the bridge publishes.
        host: name of the agent host that watches it.
        watched_fps: frames per second that are analysed.
        skipped: frames that were not analysed, by reason, since the watcher's start.
        dropped: boxes for viewers and crops for the memory that could not be handed on.
        recording: None where no bridge reports it.
        unpublished: frames that did not reach the room, by cause, since the bridge has the camera.
    """

    version: Literal[1] = 1
    camera: Slug
    state: CameraState
    reason: str = ""
    since_us: int
    fps: float = 0.0
    width: Count = 0
    height: Count = 0
    codec: str = ""
    host: str | None = None
    watched_fps: float = 0.0
    skipped: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    last_frame_us: int | None = None
    recording: RecordingStatus | None = None
    unpublished: dict[str, int] = Field(default_factory=dict)


class CameraStatusBoard:
    """One hash per tenant: camera → CameraStatus.

    Args:
        redis: from `open_redis`; stays the caller's to close.
        life_s: after so long without a new `put_all`, a tenant's board is empty.
    """

    def __init__(self, redis: Redis, *, life_s: int = BOARD_LIFE_S) -> None:
        self._redis = redis
        self._life_s = life_s

    async def put_all(self, tenant: str, statuses: Iterable[CameraStatus]) -> None:
        """Replace the tenant's whole board, in one step. Raises UnavailableError."""
        key = cameras_key(tenant)
        board: dict[Any, Any] = {status.camera: status.model_dump_json() for status in statuses}
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.delete(key)
                if board:
                    pipeline.hset(key, mapping=board)
                    pipeline.expire(key, self._life_s)
                await pipeline.execute()

    async def get_all(self, tenant: str) -> dict[str, CameraStatus]:
        """The statuses by camera; empty where none is fresh. Raises UnavailableError."""
        with redis_errors():
            board = await self._redis.hgetall(cameras_key(tenant))
        statuses = {}
        for camera, content in board.items():
            try:
                status = CameraStatus.model_validate_json(content)
            except ValidationError as error:
                # A controller of another version, while the cluster is being upgraded.
                _LOG.warning(
                    "unreadable camera status", tenant=tenant, camera=camera, reason=str(error)
                )
                continue
            statuses[status.camera] = status
        return statuses
