"""Phases of a move."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.moving import SHUT, MovePhase

P = MovePhase


def test_what_may_follow() -> None:
    assert {phase: phase.may_become for phase in P} == {
        P.DRAINING: {P.CLOSED, None},
        P.CLOSED: {P.MOVED, None},
        P.MOVED: set(),
        P.ARRIVING: {None},
    }
    assert {phase for phase in P if phase.can_end} == {P.DRAINING, P.CLOSED, P.ARRIVING}


@given(st.lists(st.integers(0, 3), max_size=20))
def test_who_has_moved_never_lives_here_again(choices: list[int]) -> None:
    """Whatever follows what, from the first phase at the source."""
    phase: MovePhase | None = P.DRAINING
    seen: list[MovePhase | None] = [phase]
    for choice in choices:
        options = sorted(phase.may_become, key=str) if phase is not None else []
        if not options:
            break
        phase = options[choice % len(options)]
        seen.append(phase)
    assert P.ARRIVING not in seen
    if P.MOVED in seen:
        assert seen == [P.DRAINING, P.CLOSED, P.MOVED]
        assert P.MOVED in SHUT
