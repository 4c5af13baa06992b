"""The state machine of a camera: its transition table, and the mapping of observations to events.

Pure: the time is part of the observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from cluster.bridge.units import CameraBridgeStatus, StreamPhase
from cluster.controller.reports import WatcherStatus
from pipelines.domain import CameraState, PictureFault
from pipelines.ledger import Cover, CoverageReport


class CameraEvent(StrEnum):
    """What can be observed of a camera."""

    ENABLED = "enabled"
    """It was enabled again, or its URL changed."""
    DISABLED = "disabled"
    """Its tenant disabled it."""
    OPENING = "opening"
    """The first connection is being made, or no bridge has it yet."""
    VIDEO = "video"
    """Its video is in the room; a watcher may not have joined yet."""
    WATCHED = "watched"
    """Its video is in the room and is analysed."""
    BLINDED = "blinded"
    """It is analysed, and nothing can be seen in it."""
    UNWATCHED = "unwatched"
    """Its video is in the room, but has not been analysed for too long."""
    LOST = "lost"
    """It cannot be read."""


_C, _L, _D, _O = CameraState.CONNECTING, CameraState.LIVE, CameraState.DEGRADED, CameraState.OFFLINE
_E = CameraEvent

TRANSITIONS: Mapping[tuple[CameraState, CameraEvent], CameraState] = MappingProxyType(
    {
        (_C, _E.DISABLED): _O,
        (_C, _E.OPENING): _C,
        (_C, _E.VIDEO): _C,
        (_C, _E.WATCHED): _L,
        (_C, _E.BLINDED): _D,
        (_C, _E.UNWATCHED): _D,
        (_C, _E.LOST): _O,
        (_L, _E.DISABLED): _O,
        (_L, _E.ENABLED): _C,
        (_L, _E.OPENING): _C,
        (_L, _E.VIDEO): _L,
        (_L, _E.WATCHED): _L,
        (_L, _E.BLINDED): _D,
        (_L, _E.UNWATCHED): _D,
        (_L, _E.LOST): _O,
        (_D, _E.DISABLED): _O,
        (_D, _E.ENABLED): _C,
        (_D, _E.OPENING): _C,
        (_D, _E.VIDEO): _D,
        (_D, _E.WATCHED): _L,
        (_D, _E.BLINDED): _D,
        (_D, _E.UNWATCHED): _D,
        (_D, _E.LOST): _O,
        (_O, _E.DISABLED): _O,
        (_O, _E.ENABLED): _C,
        # A retry does not change an offline camera's state; only video does.
        (_O, _E.OPENING): _O,
        (_O, _E.VIDEO): _C,
        (_O, _E.WATCHED): _L,
        (_O, _E.BLINDED): _D,
        (_O, _E.UNWATCHED): _D,
        (_O, _E.LOST): _O,
        (_C, _E.ENABLED): _C,
    }
)


def advance(state: CameraState, event: CameraEvent) -> CameraState:
    """The state after `event`.

    Raises:
        ValueError: the table has no such transition.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"no transition from {state} on {event}") from None


@dataclass(frozen=True, slots=True)
class ObservedCamera:
    """The observed state of one camera at one moment.

    Attributes:
        now_us: time of the observation, UTC microseconds.
        bridge: the bridge's status; None if no bridge reports the camera.
        watcher: the watcher's status; None if no host reports one.
        watcher_age_us: how long ago its host was asked for it, microseconds.
        gateway_error: why the media gateway rejected the stream; empty if it did not.
        unreadable: why the camera's URL cannot be read from the records; empty if it can.
        analysed_fps: frames per second that its watcher is to analyse.
        capped: why these are fewer than the camera wants; empty if they are not.
    """

    now_us: int
    enabled: bool
    bridge: CameraBridgeStatus | None
    watcher: WatcherStatus | None
    gateway_error: str = ""
    unreadable: str = ""
    watcher_age_us: int = 0
    analysed_fps: float = 5.0
    capped: str = ""

    @property
    def watcher_us(self) -> int:
        """When the watcher's status was asked for: its frames are as old as they were then."""
        return self.now_us - self.watcher_age_us


STALE_PERIODS = 2.0
"""Without an analysed frame for so many periods a camera is degraded, where that is longer than
`stale_after_s`: one that is analysed once in ten seconds is not late after six."""


def event_of(seen: ObservedCamera, stale_after_s: float) -> tuple[CameraEvent, str]:
    """The event that an observation means, and the reason to show; empty if none is needed."""
    if not seen.enabled:
        return CameraEvent.DISABLED, "switched off"
    if seen.unreadable:
        return CameraEvent.LOST, seen.unreadable
    if seen.gateway_error:
        return CameraEvent.LOST, seen.gateway_error
    if seen.bridge is None:
        return CameraEvent.OPENING, "waiting for a bridge"
    main = seen.bridge.main
    if main.phase is StreamPhase.OPENING:
        return CameraEvent.OPENING, main.reason or "connecting to the camera"
    if main.phase is StreamPhase.FAILED:
        return CameraEvent.LOST, main.reason
    stale_us = round(max(stale_after_s, STALE_PERIODS / seen.analysed_fps) * 1e6)
    if seen.watcher is not None and seen.watcher_age_us >= round(stale_after_s * 1e6):
        # Nothing is known of it since, good or bad; a host that hangs is ended soon.
        return CameraEvent.VIDEO, "its agent host does not answer"
    if _fresh(seen.watcher, seen.watcher_us, stale_us):
        reason = "; ".join(filter(None, (main.reason, seen.capped)))
        return _as_it_looks(seen.watcher, reason)
    if seen.now_us - main.since_us < stale_us:
        return CameraEvent.VIDEO, "waiting for a watcher"
    return CameraEvent.UNWATCHED, _why_unwatched(seen, stale_us)


def coverage_of(seen: ObservedCamera, state: CameraState, stale_after_s: float) -> CoverageReport:
    """The observation as coverage counts it.

    Args:
        state: of the camera, with this observation in it.
    """
    event, _ = event_of(seen, stale_after_s)
    watcher = seen.watcher
    run = None
    if watcher is not None and watcher.last_analysed_us:
        first_us = watcher.covered_from_us or watcher.last_analysed_us
        run = (first_us, watcher.last_analysed_us)
    blind = _blind(seen, event, state, round(stale_after_s * 1e6))
    fault = None
    if event is CameraEvent.BLINDED and watcher is not None and watcher.fault is not None:
        fault = (Cover(watcher.fault.kind.value), watcher.fault.since_us)
    analysed = event in (CameraEvent.WATCHED, CameraEvent.BLINDED)
    picture = watcher.fault if watcher is not None and analysed else None
    return CoverageReport(seen.now_us, blind, run, fault, picture)


def _blind(
    seen: ObservedCamera, event: CameraEvent, state: CameraState, stale_us: int
) -> Cover | None:
    """Why it is not analysed; None: it is."""
    if event in (CameraEvent.WATCHED, CameraEvent.BLINDED):
        return None
    if event is CameraEvent.DISABLED:
        return Cover.OFF
    if event is CameraEvent.LOST or state is CameraState.OFFLINE:
        return Cover.CAMERA
    if seen.watcher is not None and seen.watcher_age_us >= stale_us:
        return Cover.WATCHER
    if event is not CameraEvent.UNWATCHED:
        return Cover.CONNECTING
    if seen.bridge is not None and not seen.bridge.in_room:
        return Cover.ROOM
    if seen.watcher is None or seen.watcher_us - seen.watcher.last_frame_us >= stale_us:
        return Cover.WATCHER
    return Cover.DETECTOR


_LOOKS: Mapping[PictureFault, str] = MappingProxyType(
    {
        PictureFault.BLACK: "the picture is black: is the lens covered, or the room dark?",
        PictureFault.GLARE: "a light blinds the camera",
        PictureFault.COVERED: "the picture shows nothing: is the lens covered?",
        PictureFault.FROZEN: "the picture is frozen: the camera sends the same frame again and "
        "again; restart the camera",
        PictureFault.BLURRED: "the picture is blurred: is the lens dirty or out of focus?",
        PictureFault.MOVED: "the camera shows another scene than before: check where it points, "
        "and its zones",
    }
)


def _as_it_looks(watcher: WatcherStatus | None, reason: str) -> tuple[CameraEvent, str]:
    """Args: `reason`: of a camera whose picture is good."""
    fault = watcher.fault if watcher is not None else None
    if fault is None:
        return CameraEvent.WATCHED, reason
    event = CameraEvent.BLINDED if fault.kind.blinds else CameraEvent.WATCHED
    return event, _LOOKS[fault.kind]


def _fresh(watcher: WatcherStatus | None, now_us: int, stale_us: int) -> bool:
    return watcher is not None and now_us - watcher.last_analysed_us < stale_us


def _why_unwatched(seen: ObservedCamera, stale_us: int) -> str:
    assert seen.bridge is not None
    if not seen.bridge.in_room:
        return "the live room cannot be reached"
    if seen.watcher is None:
        return "no watcher is in the room yet"
    if seen.watcher_us - seen.watcher.last_frame_us >= stale_us:
        return "no fresh frames reach the watcher"
    return "the detector does not answer"


# ---------------------------------------------------------------- repairs


class Repair(StrEnum):
    """A repair action for a camera."""

    DISPATCH = "dispatch"
    """Request a watcher from LiveKit, which never retries a refused or lost dispatch itself."""
    DROP = "drop"
    """End a watcher that receives no frames although the room has them; a dispatch follows."""


STUCK_FACTOR = 3.0
"""A watcher without frames for this many times `stale_after_s` does not recover by itself."""


def repair(
    seen: ObservedCamera, *, dispatched_us: int, grace_s: float, stale_after_s: float
) -> Repair | None:
    """The repair that this camera needs now, if any.

    Args:
        dispatched_us: time of the last dispatch, UTC microseconds; 0 for never.
        grace_s: how long a dispatched watcher may take to appear.
        stale_after_s: after this long without a fresh frame the camera is degraded.
    """
    if not seen.enabled or seen.bridge is None or not seen.bridge.in_room:
        return None
    main = seen.bridge.main
    if main.phase is not StreamPhase.STREAMING:
        return None
    if seen.watcher is None:
        waited_us = seen.now_us - dispatched_us
        return Repair.DISPATCH if waited_us >= grace_s * 1e6 else None
    stuck_us = round(stale_after_s * STUCK_FACTOR * 1e6)
    quiet_since_us = max(seen.watcher.last_frame_us, seen.watcher.since_us, main.since_us)
    return Repair.DROP if seen.watcher_us - quiet_since_us > stuck_us else None
