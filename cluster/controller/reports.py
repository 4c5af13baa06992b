"""What agent hosts tell the controller."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.domain import CameraKey


@dataclass(frozen=True, slots=True)
class WatcherStatus:
    """How one watcher is doing.

    Attributes:
        since_us: when it joined the room, UTC microseconds.
        revision: of the plan that it follows.
        last_frame_us: capture time of the last frame that came, 0 before the first.
        last_analysed_us: capture time of the last frame that was analysed, 0 before the first.
        fps: frames that come per second.
        analysed_fps: frames that are analysed per second.
        skipped: frames that were not analysed, by cause.
        dropped: what came out of the analysis and could not be handed on, by kind.
    """

    key: CameraKey
    since_us: int
    revision: int
    last_frame_us: int
    last_analysed_us: int
    fps: float
    analysed_fps: float
    frames: int
    analysed: int
    errors: int
    skipped: dict[str, int]
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How an agent host is doing.

    Attributes:
        incarnation: changes when the actor was restarted (and so forgot its plans).
        registered: whether LiveKit can send it watchers.
        revisions: the plans that it holds.
        counts: what it had to drop, by cause, and what became of its alarms (`alarms_*`) and of
            what it told of tracks (`tracks_*`).
    """

    incarnation: str
    name: str
    registered: bool
    watchers: tuple[WatcherStatus, ...]
    revisions: dict[CameraKey, int]
    counts: dict[str, int]
    rss_bytes: int
