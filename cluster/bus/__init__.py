"""The bus: what travels through Redis. Every message is typed and versioned."""

from cluster.bus.connection import open_redis, redis_errors
from cluster.bus.listener import Listener, ListenerStats, TrackListener
from cluster.bus.model_choice import ModelChoice
from cluster.bus.passage import AlarmPassage
from cluster.bus.publisher import (
    AlarmPublisher,
    PublisherStats,
    PublishOutcome,
    replay_left_spools,
)
from cluster.bus.spool import AlarmSpool
from cluster.bus.spool_file import SpoolFullError
from cluster.bus.status import CameraStatus, CameraStatusBoard, RecordingReport
from cluster.bus.stream import AlarmStream, StreamEntry, StreamFullError, StreamGapError
from cluster.bus.tracks import TrackNews, TrackPublisher, TrackStream

__all__ = [
    "AlarmPassage",
    "AlarmPublisher",
    "AlarmSpool",
    "AlarmStream",
    "CameraStatus",
    "CameraStatusBoard",
    "Listener",
    "ListenerStats",
    "ModelChoice",
    "PublishOutcome",
    "PublisherStats",
    "RecordingReport",
    "SpoolFullError",
    "StreamEntry",
    "StreamFullError",
    "StreamGapError",
    "TrackListener",
    "TrackNews",
    "TrackPublisher",
    "TrackStream",
    "open_redis",
    "redis_errors",
    "replay_left_spools",
]
