from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.erasure import (
    GATES,
    STEPS,
    ErasureKind,
    ErasureState,
    ErasureStep,
    StepState,
    Target,
    next_step,
    object_digest,
)

S = ErasureStep


def test_a_digest_is_of_all_names_and_of_a_purpose() -> None:
    target = Target("gate", "t-1")
    spelt = b"atalaia-erased-1/acme/gate/t-1"
    assert object_digest("acme", target) == hashlib.sha256(spelt).hexdigest()
    others = [("acme", Target("yard", "t-1")), ("globex", target), ("acme", Target("gate", "t-2"))]
    assert len({object_digest("acme", target), *(object_digest(*one) for one in others)}) == 4


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True), st.text(min_size=1))
def test_a_key_names_one_object(camera: str, track: str) -> None:
    target = Target(camera, track)
    assert Target.of_key(target.key) == target


@pytest.mark.parametrize("state", ErasureState)
def test_only_what_is_done_stays(state: ErasureState) -> None:
    assert (state.may_become == frozenset()) == (state is ErasureState.DONE)
    assert ErasureState.QUEUED not in state.may_become
    assert (ErasureState.DONE in state.may_become) == (
        state in (ErasureState.RUNNING, ErasureState.WAITING)
    )


def test_a_step_that_is_done_can_only_begin_again() -> None:
    assert StepState.DONE.may_become == {StepState.DONE, StepState.PENDING}
    for state in (StepState.PENDING, StepState.WAITING):
        assert state.may_become == set(StepState)


@given(
    st.sampled_from(ErasureKind),
    st.lists(st.sampled_from(StepState), min_size=8, max_size=8),
    st.sets(st.sampled_from(ErasureStep)),
)
def test_what_comes_next(
    kind: ErasureKind, drawn: list[StepState], tried: set[ErasureStep]
) -> None:
    states = dict(zip(STEPS[kind], drawn, strict=False))
    step = next_step(kind, states, frozenset(tried))
    free = [s for s in STEPS[kind] if states[s] is not StepState.DONE and s not in tried]
    if step is None:
        # What is left is behind something that is not done.
        assert all(s in GATES or states.get(S.CLOSE) is not StepState.DONE for s in free)
        return
    assert step in free
    before = STEPS[kind][: STEPS[kind].index(step)]
    if step in GATES:
        assert all(states[s] is StepState.DONE for s in before)
    if kind is ErasureKind.TENANT and step is not S.CLOSE:
        assert states[S.CLOSE] is StepState.DONE


@given(st.sampled_from(ErasureKind), st.data())
def test_every_erasure_ends_with_its_signature(kind: ErasureKind, data: st.DataObject) -> None:
    """In rounds in which some steps have to wait; each step is done once, the gates in order."""
    states = dict.fromkeys(STEPS[kind], StepState.PENDING)
    order: list[ErasureStep | None] = []
    for _ in range(100):
        tried: frozenset[ErasureStep] = frozenset()
        while step := next_step(kind, states, tried):
            if len(order) < 50 and data.draw(st.booleans()):
                tried |= {step}
                order.append(None)
            else:
                states[step] = StepState.DONE
                order.append(step)
        if states[S.SIGN] is StepState.DONE:
            break
    done = [step for step in order if step is not None]
    assert sorted(done) == sorted(STEPS[kind])
    assert done[-3:] == [S.SETTLE, S.VERIFY, S.SIGN]
