from __future__ import annotations

import itertools
import random

import pytest

from cluster.local.lifecycle import (
    TRANSITIONS,
    IllegalMoveError,
    RestartBudget,
    RestartPolicy,
    State,
    Trigger,
    advance,
)

STEADY = RestartPolicy(budget=3, window_s=60, initial_s=1, cap_s=3, max_failed_starts=2, jitter=0)


@pytest.mark.parametrize(("state", "trigger"), TRANSITIONS)
def test_every_edge_of_the_table_is_taken(state: State, trigger: Trigger) -> None:
    assert advance(state, trigger) is TRANSITIONS[state, trigger]


@pytest.mark.parametrize(
    ("state", "trigger"), sorted(set(itertools.product(State, Trigger)) - set(TRANSITIONS))
)
def test_every_other_move_is_refused(state: State, trigger: Trigger) -> None:
    with pytest.raises(IllegalMoveError, match=trigger):
        advance(state, trigger)


def test_failed_and_stopped_are_final_and_all_others_can_be_stopped() -> None:
    for state in State:
        leaves = [trigger for trigger in Trigger if (state, trigger) in TRANSITIONS]
        if state in (State.FAILED, State.STOPPED):
            assert leaves == []
        elif state is not State.STOPPING:
            assert Trigger.STOP in leaves


def test_pauses_double_up_to_the_cap_and_the_budget_ends_them() -> None:
    budget = RestartBudget(STEADY, random.Random(1))
    assert [budget.take(now, was_ready=True) for now in (0, 1, 2, 3)] == [1, 2, 3, None]


def test_a_restart_leaves_the_window_after_its_time() -> None:
    budget = RestartBudget(STEADY, random.Random(1))
    for now in (0, 1, 2):
        budget.take(now, was_ready=True)
    assert budget.take(59.9, was_ready=True) is None
    assert budget.take(60.0, was_ready=True) is not None


def test_starts_that_never_get_ready_are_given_up_however_slowly_they_fail() -> None:
    budget = RestartBudget(STEADY, random.Random(1))
    assert budget.take(0, was_ready=False) is not None
    assert budget.take(1_000, was_ready=False) is None


def test_one_successful_start_resets_the_failed_ones() -> None:
    budget = RestartBudget(STEADY, random.Random(1))
    budget.take(0, was_ready=False)
    budget.take(1_000, was_ready=True)
    assert budget.take(2_000, was_ready=False) is not None


def test_jitter_only_shortens_and_differs() -> None:
    policy = RestartPolicy(budget=50, initial_s=2, cap_s=2, jitter=0.5)
    budget = RestartBudget(policy, random.Random(7))
    pauses = [budget.take(0, was_ready=True) for _ in range(50)]
    assert all(pause is not None and 1 <= pause <= 2 for pause in pauses)
    assert len(set(pauses)) == 50


def test_no_budget_means_no_restart() -> None:
    assert RestartBudget(RestartPolicy(budget=0), random.Random()).take(0, was_ready=True) is None


@pytest.mark.parametrize(
    "wrong",
    [{"budget": -1}, {"window_s": 0}, {"initial_s": 0}, {"max_failed_starts": 0}, {"jitter": 1.5}],
)
def test_an_invalid_policy_is_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"positive|between 0 and 1"):
        RestartPolicy(**wrong)  # type: ignore[arg-type]
