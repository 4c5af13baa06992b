"""The queue: never waits, writes in order, counts what it drops and says so when it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from cluster.core.backoff import Backoff
from cluster.stores.audit.events import PLATFORM_CHAIN, AuditAction, AuditEvent
from cluster.stores.audit.queue import BATCH, AuditQueue, AuditQueueState
from pipelines.clock import ManualClock
from pipelines.errors import AtalaiaError, ConflictError, InputError, UnavailableError
from tests.unit.cluster.stores.audit.chains import make_event


class Chains:
    """Takes events, unless it is told to fail or to hang."""

    def __init__(self) -> None:
        self.taken: dict[str, list[AuditEvent]] = {}
        self.order: list[str] = []
        self.fails: AtalaiaError | None = None
        self.fails_only: str | None = None
        """The chain that fails; None: all of them."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.tried = asyncio.Event()

    async def __call__(self, chain: str, events: Sequence[AuditEvent]) -> None:
        self.tried.set()
        await self.gate.wait()
        if self.fails is not None and self.fails_only in (None, chain):
            raise self.fails
        self.order.append(chain)
        self.taken.setdefault(chain, []).extend(events)

    def numbers(self, chain: str) -> list[int]:
        return [int(e.object_id.partition("-")[2]) for e in self.taken[chain] if e.object_id]


class Counts(dict[str, int]):
    def __call__(self, kind: str, count: int) -> None:
        self[kind] = self.get(kind, 0) + count


@pytest.fixture
def chains() -> Chains:
    return Chains()


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def queue(chains: Chains, counts: Counts) -> AsyncIterator[AuditQueue]:
    queue = AuditQueue(
        chains,
        ManualClock(),
        observe=counts,
        max_waiting=300,
        max_of_chain=200,
        backoff=Backoff(0.001, 0.001),
    )
    yield queue
    await queue.aclose()


async def _until(holds: Callable[[], bool]) -> None:
    """Let the other tasks run until `holds()`."""
    for _ in range(200_000):
        if holds():
            return
        await asyncio.sleep(0)
    pytest.fail("it never held")


async def _until_empty(queue: AuditQueue) -> None:
    await _until(lambda: queue.state == AuditQueueState(False, 0, queue.state.lost, 0))


async def test_events_are_written_in_order(
    queue: AuditQueue, chains: Chains, counts: Counts
) -> None:
    queue.start()
    for n in range(150):
        queue.put("acme", make_event(n))
    await _until_empty(queue)
    assert chains.numbers("acme") == list(range(150))
    assert counts == {"written": 150, "delayed": 0}


async def test_chains_take_turns(queue: AuditQueue, chains: Chains) -> None:
    for n in range(BATCH + 1):
        queue.put("acme", make_event(n))
    queue.put("globex", make_event(0))
    queue.start()
    await _until_empty(queue)
    assert chains.order == ["acme", "globex", "acme"]


async def test_while_the_database_is_away_events_wait_and_are_counted(
    queue: AuditQueue, chains: Chains, counts: Counts
) -> None:
    chains.fails = UnavailableError("away.")
    queue.start()
    for n in range(3):
        queue.put("acme", make_event(n))
    await chains.tried.wait()
    await _until(lambda: queue.state.failing)
    assert queue.state.waiting == 3
    assert counts == {}
    chains.fails = None
    await _until_empty(queue)
    assert chains.numbers("acme") == [0, 1, 2]
    assert counts == {"written": 3, "delayed": 3}


@pytest.mark.parametrize("error", [UnavailableError("away."), ConflictError("others were faster.")])
async def test_a_chain_that_fails_does_not_stop_the_others(
    queue: AuditQueue, chains: Chains, error: AtalaiaError
) -> None:
    async def only_globex(chain: str, events: Sequence[AuditEvent]) -> None:
        if chain == "acme":
            raise error
        await chains(chain, events)

    queue._append = only_globex
    queue.put("acme", make_event(0))
    queue.put("globex", make_event(1))
    queue.start()
    await _until(lambda: queue.state.waiting == 1)
    assert chains.numbers("globex") == [1]
    queue._append = chains
    await _until_empty(queue)
    assert chains.numbers("acme") == [0]


async def test_a_full_queue_drops_counts_and_says_so_afterwards(
    queue: AuditQueue, chains: Chains, counts: Counts
) -> None:
    for n in range(205):
        queue.put("acme", make_event(n))
    state = queue.state
    assert (state.waiting, state.lost, state.unrecorded_losses) == (200, 5, 5)
    assert counts == {"lost": 5}
    queue.start()
    await _until_empty(queue)
    assert chains.numbers("acme") == list(range(200))
    [told] = [e for e in chains.taken["acme"] if e.action is AuditAction.AUDIT_LOST]
    assert told.details == {
        "count": 5,
        "first_us": make_event(200).at_us,
        "last_us": make_event(204).at_us,
    }
    assert queue.state.lost == 5


async def test_one_tenant_cannot_take_the_place_of_another(
    queue: AuditQueue, chains: Chains
) -> None:
    for n in range(1_000):
        queue.put("acme", make_event(n))
    queue.put("globex", make_event(0))
    queue.start()
    await _until_empty(queue)
    assert chains.numbers("globex") == [0]
    assert [e.action for e in chains.taken["globex"]] == [AuditAction.CAMERA_CHANGE]


async def test_losses_while_it_is_away_are_told_once(queue: AuditQueue, chains: Chains) -> None:
    chains.fails = UnavailableError("away.")
    queue.start()
    for n in range(210):
        queue.put("acme", make_event(n))
    await chains.tried.wait()
    queue.put("acme", make_event(210))
    chains.fails = None
    await _until_empty(queue)
    told = [e.details["count"] for e in chains.taken["acme"] if e.action is AuditAction.AUDIT_LOST]
    assert sum(int(str(count)) for count in told) == 11


async def test_what_the_database_never_takes_is_dropped_and_told(
    queue: AuditQueue, chains: Chains, counts: Counts
) -> None:
    chains.fails = InputError("the database does not take one of the values.")
    queue.put("acme", make_event(0))
    queue.start()
    await _until(lambda: queue.state.waiting == 0)
    assert counts == {"lost": 1}
    chains.fails = None
    queue.put("acme", make_event(1))
    await _until_empty(queue)
    assert chains.numbers("acme") == [1]
    assert AuditAction.AUDIT_LOST in [e.action for e in chains.taken["acme"]]


async def test_a_bug_does_not_end_the_writer(queue: AuditQueue, chains: Chains) -> None:
    async def broken_once(chain: str, events: Sequence[AuditEvent]) -> None:
        queue._append = chains
        raise RuntimeError("a bug")

    queue._append = broken_once
    queue.put("acme", make_event(0))
    queue.start()
    await _until_empty(queue)
    assert chains.numbers("acme") == [0]


async def test_what_waits_is_written_at_the_end(queue: AuditQueue, chains: Chains) -> None:
    queue.start()
    for n in range(150):
        queue.put("acme", make_event(n))
    await queue.aclose()
    assert chains.numbers("acme") == list(range(150))
    await queue.aclose()


async def test_the_end_does_not_wait_for_a_database_that_hangs(
    queue: AuditQueue, chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.stores.audit.queue.FLUSH_S", 0.01)
    chains.gate.clear()
    queue.start()
    queue.put("acme", make_event(0))
    await chains.tried.wait()
    async with asyncio.timeout(5):
        await queue.aclose()
    assert chains.taken == {}
    assert queue.state.waiting == 1


async def test_the_platform_does_not_wait_for_a_tenant_that_cannot_be_written(
    queue: AuditQueue, chains: Chains
) -> None:
    """Not even where events of that tenant were lost, which is to be logged, too."""
    chains.fails, chains.fails_only = UnavailableError("not now."), "acme"
    for number in range(201):
        queue.put("acme", make_event(number))
    queue.put(PLATFORM_CHAIN, make_event(7))
    queue.start()
    await _until(lambda: PLATFORM_CHAIN in chains.taken)
    assert chains.numbers(PLATFORM_CHAIN) == [7]
    chains.fails = None
    await _until_empty(queue)
    assert chains.numbers("acme") == list(range(200))
