"""What keeps repetition, and whatever is refused again and again, out of the log."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.stores.audit.events import AuditAction, AuditEvent, AuditOutcome
from pipelines.clock import ManualClock
from serve.api.audit.windows import (
    MAX_REFUSED,
    SEVERAL,
    WINDOW_S,
    OncePerWindow,
    RefusedRequests,
)
from tests.unit.cluster.stores.audit.chains import make_event

# ------------------------------------------------------------ once per minute


def test_the_first_of_a_minute_counts() -> None:
    clock = ManualClock()
    once = OncePerWindow(clock)
    a, b = ("acme", "a"), ("acme", "b")
    assert [once.first(a), once.first(a), once.first(b)] == [True, False, True]
    clock.advance(WINDOW_S - 1)
    assert not once.first(a)
    clock.advance(1)
    assert [once.first(a), once.first(a)] == [True, False]


def test_the_same_in_two_chains_is_twice() -> None:
    once = OncePerWindow(ManualClock())
    assert [once.first(("acme", "a")), once.first(("", "a"))] == [True, True]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 30)), max_size=60))
def test_no_two_of_a_kind_lie_within_a_minute(steps: list[tuple[int, float]]) -> None:
    clock = ManualClock()
    once = OncePerWindow(clock)
    last: dict[int, float] = {}
    for key, wait in steps:
        clock.advance(wait)
        now = clock.monotonic()
        first = once.first((f"chain-{key % 2}", str(key)))
        assert first == (now - last.get(key, -WINDOW_S) >= WINDOW_S)
        if first:
            last[key] = now


def test_what_is_remembered_is_bounded() -> None:
    once = OncePerWindow(ManualClock(), size=10, size_of_chain=4)
    for n in range(1_000):
        assert once.first((f"chain-{n % 7}", str(n)))
        assert len(once) <= 10
    for n in range(1_000):
        once.first(("acme", str(n)))
    assert not once.first(("acme", "999"))
    assert once.first(("acme", "995"))


def test_a_flood_in_some_chains_does_not_forget_what_was_said_in_another() -> None:
    once = OncePerWindow(ManualClock(), size=100, size_of_chain=50)
    for n in range(10):
        assert once.first(("acme", str(n)))
    for n in range(1_000):
        once.first((f"flood-{n % 5}", str(n)))
    assert not [n for n in range(10) if once.first(("acme", str(n)))]
    assert len(once) == 100


def test_what_is_past_makes_room_first() -> None:
    clock = ManualClock()
    once = OncePerWindow(clock, size=100, size_of_chain=100)
    for n in range(90):
        once.first(("acme", str(n)))
    clock.advance(WINDOW_S / 2)
    for n in range(10):
        once.first(("globex", str(n)))
    clock.advance(WINDOW_S / 2)
    once.first(("initech", "x"))
    assert len(once) == 11
    assert not once.first(("globex", "0"))


def test_a_long_text_takes_no_more_room_than_a_short_one() -> None:
    once = OncePerWindow(ManualClock())
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for n in range(1_000):
        once.first(("acme", f"{n}" + "x" * 3_200))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 1_000 < 400


# ------------------------------------------------------------ refused requests


def _refused(n: int = 0, **fields: Any) -> AuditEvent:
    event = make_event(n, outcome=AuditOutcome.REFUSED, reason="404 Not Found")
    return event.model_copy(update={"action": AuditAction.SNAPSHOT_VIEW, **fields})


def _admitted(refused: RefusedRequests, *events: AuditEvent, chain: str = "acme") -> int:
    return sum(refused.admit(chain, event) for event in events)


def test_a_few_refused_requests_are_logged_one_by_one() -> None:
    clock = ManualClock()
    refused = RefusedRequests(clock)
    for _ in range(3):
        assert _admitted(refused, *map(_refused, range(MAX_REFUSED))) == MAX_REFUSED
        clock.advance(WINDOW_S)
    assert refused.due() == []


def test_the_rest_of_a_minute_is_one_event() -> None:
    clock = ManualClock()
    refused = RefusedRequests(clock)
    events = [_refused(n) for n in range(1_000)]
    events[-1] = _refused(1_000, reason="422 Unprocessable Content")
    assert _admitted(refused, *events) == MAX_REFUSED
    clock.advance(WINDOW_S - 1)
    assert refused.due() == []
    clock.advance(1)
    [(chain, event)] = refused.due()
    assert (chain, event.actor, event.action) == (
        "acme",
        "key:aaaaaaaa",
        AuditAction.SNAPSHOT_VIEW,
    )
    assert (event.object_kind, event.object_id, event.address) == ("camera", "", "192.0.2.7")
    assert (event.outcome, event.reason) == (AuditOutcome.REFUSED, "404, 422")
    assert event.details == {"count": 1_000 - MAX_REFUSED, "404": 999 - MAX_REFUSED, "422": 1}
    assert event.at_us == clock.now_us()
    assert refused.due() == []
    # A new minute.
    assert refused.admit("acme", _refused())


def test_the_count_of_a_minute_that_is_not_over_is_told_at_the_end() -> None:
    refused = RefusedRequests(ManualClock(), max_logged=1)
    assert _admitted(refused, *map(_refused, range(3))) == 1
    [(_, event)] = refused.all()
    assert event.details["count"] == 2
    assert refused.all() == []


@pytest.mark.parametrize(
    "other",
    [{"actor": "key:bbbbbbbb"}, {"action": AuditAction.CLIP_LINK}, {"chain": "globex"}],
)
def test_each_chain_actor_and_action_has_its_own(other: dict[str, Any]) -> None:
    refused = RefusedRequests(ManualClock(), max_logged=1)
    assert _admitted(refused, _refused(), _refused()) == 1
    fields = dict(other)
    chain = str(fields.pop("chain", "acme"))
    assert _admitted(refused, _refused(**fields), _refused(**fields), chain=chain) == 1
    assert len(refused.all()) == 2


def test_several_addresses_are_none() -> None:
    refused = RefusedRequests(ManualClock(), max_logged=1)
    _admitted(refused, *(_refused(address=f"192.0.2.{n}") for n in range(3)))
    [(_, event)] = refused.all()
    assert event.address is None


def test_a_flood_of_actors_is_counted_together() -> None:
    refused = RefusedRequests(ManualClock(), max_logged=1, max_floods=3)
    events = [_refused(actor=f"key:{n:08}") for n in range(100) for _ in range(2)]
    assert _admitted(refused, *events) == 3 + 1
    told = {event.actor: event.details["count"] for _, event in refused.all()}
    assert told == {"key:00000000": 1, "key:00000001": 1, "key:00000002": 1, SEVERAL: 193}


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.floats(0, 20)), max_size=80
    ),
    max_logged=st.integers(1, 4),
    max_floods=st.integers(1, 3),
)
def test_each_refused_request_is_logged_or_counted(
    steps: list[tuple[str, str, float]], max_logged: int, max_floods: int
) -> None:
    clock = ManualClock()
    refused = RefusedRequests(clock, max_logged=max_logged, max_floods=max_floods)
    logged, told = dict.fromkeys("ab", 0), []
    for chain, actor, wait in steps:
        clock.advance(wait)
        told += refused.due()
        logged[chain] += refused.admit(chain, _refused(actor=actor))
    told += refused.all()
    for chain in "ab":
        counted = sum(int(str(e.details["count"])) for name, e in told if name == chain)
        assert logged[chain] + counted == [name for name, _, _ in steps].count(chain)
