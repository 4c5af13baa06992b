"""Status reports from agent hosts to the controller."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.domain import CameraKey, Fault


@dataclass(frozen=True, slots=True)
class WatcherStatus:
    """Status of one watcher.

    Attributes:
        since_us: when it joined the room, UTC microseconds.
        revision: of the plan that it follows.
        last_frame_us: capture time of the last received frame, 0 before the first.
        last_analysed_us: capture time of the last analysed frame, 0 before the first.
        fps: frames received per second.
        analysed_fps: frames analysed per second.
        skipped: frames that were not analysed, by cause.
        dropped: results of the analysis that could not be delivered, by kind.
        covered_from_us: capture time of the first frame since which frames were analysed without a
            gap (`pipelines.ledger.Run`), 0 before the first.
        fault: what is wrong with its picture.
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
    covered_from_us: int = 0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """Status of an agent host.

    Attributes:
        incarnation: changes when the actor restarts, which loses its plans.
        registered: whether LiveKit can dispatch watchers to it.
        revisions: revision of each plan that it holds.
        counts: dropped items by cause, and outcomes of its alarms (`alarms_*`) and track updates
            (`tracks_*`).
    """

    incarnation: str
    name: str
    registered: bool
    watchers: tuple[WatcherStatus, ...]
    revisions: dict[CameraKey, int]
    counts: dict[str, int]
    rss_bytes: int
