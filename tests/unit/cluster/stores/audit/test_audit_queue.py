"""The queue: never waits, writes in order, counts what it drops and says so when it can."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.backoff import Backoff
from cluster.stores.audit.events import PLATFORM_CHAIN, AuditAction, AuditEvent
from cluster.stores.audit.queue import BATCH, AuditQueue, AuditQueueState
from pipelines.clock import SystemClock
from pipelines.errors import ConflictError, InputError, UnavailableError
from tests.unit.cluster.stores.audit.chains import make_event


class Chains:
    """Takes events, unless it is told to fail or to hang."""

    def __init__(self) -> None:
        self.taken: dict[str, list[AuditEvent]] = {}
        self.order: list[str] = []
        self.attempts: list[str] = []
        self.fails: Exception | None = None
        self.fails_only: str | None = None
        """The chain that fails; None: all of them."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.tried = asyncio.Event()

    async def __call__(self, chain: str, events: Sequence[AuditEvent]) -> None:
        self.tried.set()
        self.attempts.append(chain)
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
        SystemClock(),
        observe=counts,
        max_waiting=300,
        max_of_chain=200,
        backoff=lambda: Backoff(0.001, 0.001),
    )
    yield queue
    await queue.aclose()


@pytest.fixture
async def patient(chains: Chains) -> AsyncIterator[AuditQueue]:
    """A queue whose back-off nobody lives to see the end of."""
    queue = AuditQueue(chains, SystemClock(), backoff=lambda: Backoff(3600, 3600))
    yield queue
    chains.fails = None
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


ERRORS = [
    UnavailableError("away."),
    ConflictError("others were faster."),
    RuntimeError("a bug"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_nobody_waits_for_a_chain_that_fails(
    chains: Chains, patient: AuditQueue, error: Exception
) -> None:
    chains.fails, chains.fails_only = error, "acme"
    patient.start()
    patient.put("acme", make_event(0))
    await _until(lambda: patient.state.failing)
    for n in range(1, 6):
        patient.put("acme", make_event(n))
        patient.put("globex", make_event(n))
        await _until(lambda: patient.state.waiting == n + 1)  # noqa: B023
    assert chains.numbers("globex") == [1, 2, 3, 4, 5]
    assert chains.attempts.count("acme") == 1


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_chain_that_failed_is_tried_again(
    queue: AuditQueue, chains: Chains, error: Exception
) -> None:
    chains.fails, chains.fails_only = error, "acme"
    queue.put("acme", make_event(0))
    queue.put("globex", make_event(1))
    queue.start()
    await _until(lambda: chains.attempts.count("acme") >= 3)
    assert queue.state.waiting == 1
    chains.fails = None
    await _until_empty(queue)
    assert chains.numbers("acme") == [0]


async def test_a_database_that_is_away_is_not_tried_chain_by_chain(
    chains: Chains, patient: AuditQueue
) -> None:
    """The second chain shows that it is not the first one's fault; the others wait."""
    chains.fails = UnavailableError("away.")
    for n in range(50):
        patient.put(f"tenant-{n}", make_event(n))
    patient.start()
    await _until(lambda: len(chains.attempts) == 2)
    for n in range(50, 60):
        patient.put(f"tenant-{n}", make_event(n))
        for _ in range(10):
            await asyncio.sleep(0)
    assert chains.attempts == ["tenant-0", "tenant-1"]
    assert patient.state.waiting == 60


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


async def test_several_tenants_cannot_take_it_either(queue: AuditQueue, chains: Chains) -> None:
    """The longest chain makes way, by its newest events."""
    for n in range(200):
        queue.put("acme", make_event(n))
    for n in range(100):
        queue.put("globex", make_event(n))
    for n in range(10):
        queue.put("initech", make_event(n))
    assert queue.state == AuditQueueState(False, 300, 10, 10)
    queue.start()
    await _until_empty(queue)
    assert chains.numbers("initech") == list(range(10))
    assert chains.numbers("globex") == list(range(100))
    assert chains.numbers("acme") == list(range(190))
    [told] = [e for e in chains.taken["acme"] if e.action is AuditAction.AUDIT_LOST]
    assert told.details == {
        "count": 10,
        "first_us": make_event(190).at_us,
        "last_us": make_event(199).at_us,
    }


async def test_a_flood_of_every_tenant_leaves_each_an_equal_share(
    queue: AuditQueue, chains: Chains
) -> None:
    tenants = [f"tenant-{n}" for n in range(6)]
    for tenant in tenants:
        for n in range(500):
            queue.put(tenant, make_event(n))
    queue.start()
    await _until_empty(queue)
    assert {len(chains.numbers(tenant)) for tenant in tenants} <= {49, 50, 51}


async def test_what_is_being_written_does_not_make_way(chains: Chains, counts: Counts) -> None:
    queue = AuditQueue(chains, SystemClock(), observe=counts, max_waiting=10)
    chains.gate.clear()
    queue.start()
    for n in range(10):
        queue.put("acme", make_event(n))
    await chains.tried.wait()
    queue.put("globex", make_event(0))
    chains.gate.set()
    await _until_empty(queue)
    assert chains.numbers("acme") == list(range(10))
    assert [e.action for e in chains.taken["globex"]] == [AuditAction.AUDIT_LOST]
    await queue.aclose()


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=60),
    seed=st.integers(0, 2**32),
)
def test_every_event_is_written_once_or_counted_as_lost(
    steps: list[tuple[str, int]], seed: int
) -> None:
    """Whatever fails meanwhile; and each chain's events keep their order."""
    rng, chains = random.Random(seed), Chains()

    async def unsteady(chain: str, events: Sequence[AuditEvent]) -> None:
        await asyncio.sleep(0)
        error = rng.choice([None, UnavailableError("away."), TimeoutError()])
        if error is not None:
            raise error
        await chains(chain, events)

    async def run() -> AuditQueue:
        queue = AuditQueue(
            unsteady,
            SystemClock(),
            max_waiting=12,
            max_of_chain=7,
            backoff=lambda: Backoff(0.0001, 0.0001),
        )
        queue.start()
        for n, (chain, turns) in enumerate(steps):
            queue.put(chain, make_event(n))
            assert queue.state.waiting <= 12
            for _ in range(turns):
                await asyncio.sleep(0)
        await _until_empty(queue)
        await queue.aclose()
        return queue

    queue = asyncio.run(run())
    for chain in {chain for chain, _ in steps}:
        written = chains.numbers(chain)
        assert written == sorted(set(written))
        lost = [e.details["count"] for e in chains.taken[chain] if not e.object_id]
        assert len(written) + sum(map(int, map(str, lost))) == [c for c, _ in steps].count(chain)
    assert (
        sum(len(chains.numbers(chain)) for chain in chains.taken) == len(steps) - queue.state.lost
    )


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
    async def picky(chain: str, events: Sequence[AuditEvent]) -> None:
        if any(event.object_id == "camera-0" for event in events):
            raise InputError("the database does not take one of the values.")
        await chains(chain, events)

    queue._append = picky
    queue.put("acme", make_event(0))
    queue.start()
    await _until_empty(queue)
    queue.put("acme", make_event(1))
    await _until_empty(queue)
    assert chains.numbers("acme") == [1]
    assert chains.taken["acme"][0].action is AuditAction.AUDIT_LOST
    assert counts == {"lost": 1, "written": 1, "delayed": 0}


@settings(deadline=None)
@given(st.integers(1, 250), st.sets(st.integers(0, 249), max_size=6))
def test_one_bad_event_takes_no_other_with_it(count: int, bad: set[int]) -> None:
    chains, transactions = Chains(), 0

    async def picky(chain: str, events: Sequence[AuditEvent]) -> None:
        nonlocal transactions
        transactions += 1
        if any(event.object_id in {f"camera-{n}" for n in bad} for event in events):
            raise InputError("the database does not take one of the values.")
        await chains(chain, events)

    async def run() -> AuditQueue:
        queue = AuditQueue(picky, SystemClock())
        for n in range(count):
            queue.put("acme", make_event(n))
        queue.start()
        await _until_empty(queue)
        await queue.aclose()
        return queue

    queue = asyncio.run(run())
    refused = bad & set(range(count))
    assert queue.state == AuditQueueState(False, 0, len(refused), 0)
    assert chains.numbers("acme") == [n for n in range(count) if n not in refused]
    told = [e.details for e in chains.taken["acme"] if e.action is AuditAction.AUDIT_LOST]
    assert sum(int(str(details["count"])) for details in told) == len(refused)
    # Halved for each that is bad, and doubled again.
    assert transactions <= 4 + 16 * (len(refused) + 1)


async def test_a_loss_that_the_database_never_takes_is_not_told(
    queue: AuditQueue, chains: Chains
) -> None:
    """As where the chain's name is none: it stays in the number of losses, and nothing waits."""
    chains.fails, chains.fails_only = InputError("'ACME' is not a tenant's name."), "ACME"
    queue.put("ACME", make_event(0))
    queue.start()
    await _until_empty(queue)
    for n in range(5):
        queue.put("globex", make_event(n))
        await _until_empty(queue)
    assert chains.attempts == ["ACME", "ACME", *["globex"] * 5]
    assert queue.state == AuditQueueState(False, 0, 1, 0)
    chains.fails = None
    queue.put("ACME", make_event(1))
    await _until_empty(queue)
    assert [e.object_id for e in chains.taken["ACME"]] == ["camera-1"]


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


async def test_at_the_end_every_chain_is_tried(chains: Chains, patient: AuditQueue) -> None:
    """Those in back-off as well: it is the last chance."""
    chains.fails = UnavailableError("away.")
    patient.start()
    for n in range(20):
        patient.put(f"tenant-{n}", make_event(n))
    await _until(lambda: len(chains.attempts) == 2)
    chains.fails_only = "tenant-7"
    await patient.aclose()
    assert sorted(chains.taken) == sorted({f"tenant-{n}" for n in range(20)} - {"tenant-7"})
    assert "tenant-7" in chains.attempts
    assert patient.state.waiting == 1


@pytest.mark.parametrize("hangs", [1, 2])
async def test_at_the_end_nobody_waits_for_a_chain_that_hangs(
    chains: Chains, patient: AuditQueue, hangs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.stores.audit.queue.FLUSH_S", 2.0)

    async def hanging(chain: str, events: Sequence[AuditEvent]) -> None:
        chains.attempts.append(chain)
        if chain == "acme" and chains.attempts.count("acme") <= hangs:
            await asyncio.Event().wait()
        await chains(chain, events)

    patient._append = hanging
    patient.put("acme", make_event(0))
    patient.start()
    await _until(lambda: chains.attempts == ["acme"])
    for n in range(20):
        patient.put(f"tenant-{n}", make_event(n))
    await patient.aclose()
    assert {f"tenant-{n}" for n in range(20)} <= chains.taken.keys()


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
