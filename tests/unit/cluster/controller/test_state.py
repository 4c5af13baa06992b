from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.bridge.units import CameraBridgeStatus, StreamPhase, StreamStatus
from cluster.controller.reports import WatcherStatus
from cluster.controller.state import (
    TRANSITIONS,
    CameraEvent,
    ObservedCamera,
    Repair,
    advance,
    coverage_of,
    event_of,
    repair,
)
from pipelines.domain import CameraKey, CameraState, Fault, PictureFault
from pipelines.ledger import Cover

NOW_US = 1_700_000_000_000_000
STALE_S = 6.0
KEY = CameraKey("acme", "gate")
STREAMING = CameraBridgeStatus(
    key=KEY,
    version="1",
    in_room=True,
    main=StreamStatus(phase=StreamPhase.STREAMING, since_us=NOW_US - 60_000_000),
)
WATCHER = WatcherStatus(
    key=KEY,
    since_us=NOW_US - 50_000_000,
    revision=1,
    last_frame_us=NOW_US - 100_000,
    last_analysed_us=NOW_US - 200_000,
    fps=25.0,
    analysed_fps=5.0,
    frames=1000,
    analysed=200,
    errors=0,
    skipped={},
    dropped={},
)
SEEN = ObservedCamera(now_us=NOW_US, enabled=True, bridge=STREAMING, watcher=WATCHER)


def _main(**changes: object) -> CameraBridgeStatus:
    return replace(STREAMING, main=replace(STREAMING.main, **changes))


@pytest.mark.parametrize("state", list(CameraState))
@pytest.mark.parametrize("event", list(CameraEvent))
def test_every_event_has_a_transition_in_every_state(
    state: CameraState, event: CameraEvent
) -> None:
    after = advance(state, event)
    expected = {
        CameraEvent.ENABLED: {CameraState.CONNECTING},
        CameraEvent.DISABLED: {CameraState.OFFLINE},
        CameraEvent.LOST: {CameraState.OFFLINE},
        CameraEvent.WATCHED: {CameraState.LIVE},
        CameraEvent.UNWATCHED: {CameraState.DEGRADED},
        CameraEvent.BLINDED: {CameraState.DEGRADED},
        # A retry must not make an offline camera look better than it is.
        CameraEvent.OPENING: {CameraState.CONNECTING, CameraState.OFFLINE},
        CameraEvent.VIDEO: {CameraState.CONNECTING, CameraState.LIVE, CameraState.DEGRADED},
    }[event]
    assert after in expected


def test_a_retry_alone_never_ends_offline() -> None:
    assert advance(CameraState.OFFLINE, CameraEvent.OPENING) is CameraState.OFFLINE


def test_an_unknown_move_is_refused() -> None:
    assert ("live", "exploded") not in TRANSITIONS
    with pytest.raises(ValueError, match="no transition"):
        advance(CameraState.LIVE, "exploded")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "event", "reason"),
    [
        (SEEN, CameraEvent.WATCHED, ""),
        (replace(SEEN, enabled=False), CameraEvent.DISABLED, "switched off"),
        (replace(SEEN, gateway_error="no gateway"), CameraEvent.LOST, "no gateway"),
        (
            replace(SEEN, unreadable="no key", gateway_error="no gateway"),
            CameraEvent.LOST,
            "no key",
        ),
        (replace(SEEN, unreadable="no key", enabled=False), CameraEvent.DISABLED, "switched off"),
        (replace(SEEN, bridge=None), CameraEvent.OPENING, "waiting for a bridge"),
        (replace(SEEN, bridge=_main(phase=StreamPhase.OPENING)), CameraEvent.OPENING, "connecting"),
        (
            replace(SEEN, bridge=_main(phase=StreamPhase.FAILED, reason="wrong password")),
            CameraEvent.LOST,
            "wrong password",
        ),
        (
            replace(SEEN, bridge=_main(reason="H.265 is transcoded")),
            CameraEvent.WATCHED,
            "H.265 is transcoded",
        ),
        (
            replace(SEEN, watcher=None, bridge=_main(since_us=NOW_US - 1_000_000)),
            CameraEvent.VIDEO,
            "waiting for a watcher",
        ),
        (replace(SEEN, watcher=None), CameraEvent.UNWATCHED, "no watcher"),
        (
            replace(SEEN, watcher=None, bridge=replace(STREAMING, in_room=False)),
            CameraEvent.UNWATCHED,
            "room cannot be reached",
        ),
        (
            replace(
                SEEN,
                watcher=replace(
                    WATCHER, last_frame_us=NOW_US - 7_000_000, last_analysed_us=NOW_US - 7_000_000
                ),
            ),
            CameraEvent.UNWATCHED,
            "no fresh frames",
        ),
        (
            replace(SEEN, watcher=replace(WATCHER, last_analysed_us=NOW_US - 7_000_000)),
            CameraEvent.UNWATCHED,
            "detector",
        ),
        # Its frames were fresh when its host was asked: that this was long ago is not their fault.
        (
            replace(
                SEEN,
                watcher=replace(WATCHER, last_analysed_us=NOW_US - 7_000_000),
                watcher_age_us=5_000_000,
            ),
            CameraEvent.WATCHED,
            "",
        ),
        (replace(SEEN, watcher_age_us=6_000_000), CameraEvent.VIDEO, "host does not answer"),
    ],
)
def test_an_observation_maps_to_an_event_and_a_reason(
    seen: ObservedCamera, event: CameraEvent, reason: str
) -> None:
    got, why = event_of(seen, STALE_S)
    assert got is event
    assert reason in why
    assert bool(reason) == bool(why)


def _repair(seen: ObservedCamera, dispatched_ago_s: float = 1e6) -> Repair | None:
    return repair(
        seen,
        dispatched_us=NOW_US - round(dispatched_ago_s * 1e6),
        grace_s=10.0,
        stale_after_s=STALE_S,
    )


def test_a_covered_camera_needs_nothing() -> None:
    assert _repair(SEEN) is None


def test_a_room_without_watcher_gets_one_after_the_grace_period() -> None:
    blind = replace(SEEN, watcher=None)
    assert _repair(blind) is Repair.DISPATCH
    assert _repair(blind, dispatched_ago_s=9.9) is None
    assert _repair(blind, dispatched_ago_s=10.0) is Repair.DISPATCH


@pytest.mark.parametrize(
    "bridge", [None, replace(STREAMING, in_room=False), _main(phase=StreamPhase.FAILED)]
)
def test_no_watcher_is_dispatched_to_a_room_without_video(
    bridge: CameraBridgeStatus | None,
) -> None:
    assert _repair(replace(SEEN, watcher=None, bridge=bridge)) is None


def test_a_watcher_that_hangs_is_dropped_but_a_new_one_gets_time() -> None:
    quiet = replace(WATCHER, last_frame_us=0)
    assert _repair(replace(SEEN, watcher=quiet)) is Repair.DROP
    fresh = replace(quiet, since_us=NOW_US - 5_000_000)
    assert _repair(replace(SEEN, watcher=fresh)) is None
    back = replace(SEEN, watcher=quiet, bridge=_main(since_us=NOW_US - 5_000_000))
    assert _repair(back) is None


@pytest.mark.parametrize("kind", list(PictureFault))
def test_a_picture_that_shows_nothing_is_not_live_without_a_word(kind: PictureFault) -> None:
    fault = Fault(kind, NOW_US - 20_000_000)
    seen = replace(SEEN, watcher=replace(WATCHER, fault=fault))
    event, reason = event_of(seen, STALE_S)
    assert reason
    moved = kind is PictureFault.MOVED
    assert event is (CameraEvent.WATCHED if moved else CameraEvent.BLINDED)
    report = coverage_of(seen, CameraState.LIVE, STALE_S)
    assert report.cause == (None if moved else Cover(kind.value))
    # What is not analysed any more has another trouble.
    old = replace(WATCHER, fault=fault, last_analysed_us=NOW_US - 9_000_000)
    assert event_of(replace(SEEN, watcher=old), STALE_S)[0] is CameraEvent.UNWATCHED


@pytest.mark.parametrize(
    ("seen", "state", "cover"),
    [
        (SEEN, CameraState.LIVE, None),
        (replace(SEEN, enabled=False), CameraState.OFFLINE, Cover.OFF),
        (replace(SEEN, bridge=_main(phase=StreamPhase.FAILED)), CameraState.OFFLINE, Cover.CAMERA),
        (replace(SEEN, bridge=None, watcher=None), CameraState.CONNECTING, Cover.CONNECTING),
        # A retry of a camera that was away.
        (replace(SEEN, bridge=None, watcher=None), CameraState.OFFLINE, Cover.CAMERA),
        (replace(SEEN, watcher=None), CameraState.DEGRADED, Cover.WATCHER),
        (
            replace(SEEN, watcher=None, bridge=replace(STREAMING, in_room=False)),
            CameraState.DEGRADED,
            Cover.ROOM,
        ),
        (
            replace(SEEN, watcher=replace(WATCHER, last_analysed_us=NOW_US - 7_000_000)),
            CameraState.DEGRADED,
            Cover.DETECTOR,
        ),
    ],
)
def test_why_a_camera_is_blind(
    seen: ObservedCamera, state: CameraState, cover: Cover | None
) -> None:
    assert coverage_of(seen, state, STALE_S).blind is cover


def test_a_watcher_vouches_for_its_run() -> None:
    seen = replace(SEEN, watcher=replace(WATCHER, covered_from_us=NOW_US - 40_000_000))
    assert coverage_of(seen, CameraState.LIVE, STALE_S).run == (
        NOW_US - 40_000_000,
        NOW_US - 200_000,
    )
