"""Who is written next: nobody waits for a chain that fails, and a sick database is left alone."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.backoff import Backoff
from cluster.stores.audit.turns import Turns

FIRST_S, LONGEST_S = 1.0, 8.0


def _turns(seed: int = 0) -> Turns:
    return Turns(lambda: Backoff(FIRST_S, LONGEST_S, random.Random(seed)))


def _turns_of(*chains: str) -> Turns:
    turns = _turns()
    for chain in chains:
        turns.join(chain)
    return turns


def test_chains_take_turns() -> None:
    turns = _turns_of("a", "b", "c")
    order = []
    for _ in range(6):
        chain = turns.next(0.0)
        assert chain is not None
        order.append(chain)
        turns.succeeded(chain)
    assert order == ["a", "b", "c", "a", "b", "c"]
    assert not turns.failing


def test_nobody_is_next_where_nobody_stands() -> None:
    turns = _turns_of("a")
    turns.leave("a")
    turns.leave("a")
    assert turns.next(0.0) is None
    assert turns.wait_s(0.0) is None


def test_a_chain_that_fails_waits_alone() -> None:
    turns = _turns_of("a", "b")
    assert turns.failed("a", 0.0)
    assert turns.failing
    assert turns.next(0.0) == "b"
    turns.succeeded("b")
    assert turns.next(0.0) == "b"
    turns.leave("b")
    assert turns.next(0.0) is None
    wait_s = turns.wait_s(0.0)
    assert wait_s is not None
    assert FIRST_S / 2 <= wait_s <= FIRST_S
    assert turns.next(wait_s) == "a"


def test_one_sick_chain_is_not_a_sick_database() -> None:
    """However often it failed, another one that comes is written at once."""
    turns = _turns_of("a")
    now = 0.0
    for _ in range(20):
        turns.failed("a", now)
        now += turns.wait_s(now) or 0.0
    turns.failed("a", now)
    turns.join("b")
    assert turns.next(now) == "b"


def test_after_two_chains_everybody_waits() -> None:
    turns = _turns_of("a", "b", "c")
    turns.failed("a", 0.0)
    turns.failed("b", 0.0)
    assert turns.next(0.0) is None
    wait_s = turns.wait_s(0.0)
    assert wait_s is not None
    assert FIRST_S / 2 <= wait_s <= FIRST_S
    assert turns.next(wait_s) == "c"
    turns.succeeded("c")
    assert turns.next(wait_s) == "a"


def test_after_a_pause_a_healthy_chain_comes_before_the_sick_ones() -> None:
    sick = [f"sick-{n}" for n in range(10)]
    turns = _turns_of(*sick)
    now = 0.0
    for chain in sick:
        turns.failed(chain, now)
    turns.join("healthy")
    assert turns.next(now + LONGEST_S) == "healthy"


@settings(deadline=None)
@given(count=st.integers(2, 30), seed=st.integers(0, 1_000))
def test_a_database_that_is_away_is_tried_once_per_step(count: int, seed: int) -> None:
    turns = _turns(seed)
    for n in range(count):
        turns.join(f"chain-{n}")
    now, tried = 0.0, []
    for _ in range(3 * count):
        while (chain := turns.next(now)) is None:
            wait_s = turns.wait_s(now)
            assert wait_s is not None
            assert wait_s > 0
            now += wait_s
        tried.append((now, chain))
        turns.failed(chain, now)
    gaps = [later - before for (before, _), (later, _) in pairwise(tried)]
    assert gaps[0] == 0
    assert all(FIRST_S / 2 <= gap <= LONGEST_S for gap in gaps[1:])
    assert all(LONGEST_S / 2 <= gap for gap in gaps[4:])
    # Everybody is tried.
    assert {chain for _, chain in tried} == {f"chain-{n}" for n in range(count)}


@settings(deadline=None)
@given(
    sick=st.integers(0, 6),
    healthy=st.integers(1, 6),
    seed=st.integers(0, 1_000),
)
def test_whoever_is_healthy_is_served_and_whoever_is_sick_is_tried(
    sick: int, healthy: int, seed: int
) -> None:
    """Nobody healthy waits for a back-off, and nobody sick is tried before its end or forgotten."""
    turns = _turns(seed)
    names = [f"healthy-{n}" for n in range(healthy)] + [f"sick-{n}" for n in range(sick)]
    for name in names:
        turns.join(name)
    now, last = 0.0, dict.fromkeys(names, -1.0)
    while now < 75:
        chain = turns.next(now)
        if chain is None:
            # Only until it is known who is sick: before, it may be the database.
            assert now < 60
            now += turns.wait_s(now) or 0.0
            continue
        if chain.startswith("sick"):
            assert now - last[chain] >= FIRST_S / 2
            turns.failed(chain, now)
        else:
            turns.succeeded(chain)
        last[chain] = now
        now += 0.1
        for name in names if now > 60 else ():
            patience_s = LONGEST_S if name.startswith("sick") else 0.0
            assert now - last[name] <= patience_s + 0.3 * len(names)
