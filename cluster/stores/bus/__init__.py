"""The bus: what travels through Redis. Every message is typed and versioned."""

from cluster.stores.bus.connection import open_redis, redis_errors
from cluster.stores.bus.erase import TenantEraser
from cluster.stores.bus.lag import AlarmLag
from cluster.stores.bus.listener import Listener, ListenerStats, TrackListener
from cluster.stores.bus.publisher import (
    AlarmPublisher,
    PublisherStats,
    PublishOutcome,
    replay_left_spools,
)
from cluster.stores.bus.spool import AlarmSpool
from cluster.stores.bus.spool_file import SpoolFullError
from cluster.stores.bus.status import CameraStatus, CameraStatusBoard
from cluster.stores.bus.stream import AlarmStream, StreamEntry, StreamFullError, StreamGapError
from cluster.stores.bus.tracks import TrackPublisher, TrackStream, TrackUpdate

__all__ = [
    "AlarmLag",
    "AlarmPublisher",
    "AlarmSpool",
    "AlarmStream",
    "CameraStatus",
    "CameraStatusBoard",
    "Listener",
    "ListenerStats",
    "PublishOutcome",
    "PublisherStats",
    "SpoolFullError",
    "StreamEntry",
    "StreamFullError",
    "StreamGapError",
    "TenantEraser",
    "TrackListener",
    "TrackPublisher",
    "TrackStream",
    "TrackUpdate",
    "open_redis",
    "redis_errors",
    "replay_left_spools",
]
