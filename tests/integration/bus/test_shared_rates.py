"""Rates in a real Valkey: the same as in memory, for all replicas together, and none without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from cluster.core.rates import SLICES, Charge, MemoryRates, Rate
from cluster.stores.bus import open_redis
from cluster.stores.bus.keys import rate_key
from cluster.stores.bus.rates import SharedRates
from pipelines.clock import ManualClock
from pipelines.errors import UnavailableError
from serve.api.metrics import Metrics
from serve.api.quotas.limiter import RETRY_S, RateLimiter
from tests.integration.conftest import ValkeyServer

# No test waits for it; a busy machine shall not look like a Redis that is away.
PATIENT_S = 30.0
RATE = Rate(10, 60.0)
ACME, GLOBEX = rate_key("acme", "requests"), rate_key("globex", "requests")

PROPERTY = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

Frail = tuple[ValkeyServer, Redis]


def shared(redis: Redis, clock: ManualClock) -> SharedRates:
    return SharedRates(redis, clock, timeout_s=PATIENT_S)


def limiter(redis: Redis, clock: ManualClock) -> RateLimiter:
    return RateLimiter(redis, clock, Metrics(), timeout_s=PATIENT_S)


@pytest.fixture
def own_valkey(start_valkey: Callable[[], ValkeyServer]) -> str:
    """URL of a server whose settings a test may change."""
    return start_valkey().url


@pytest.fixture
async def frail(start_valkey: Callable[[], ValkeyServer]) -> AsyncIterator[Frail]:
    server = start_valkey()
    client = open_redis(server.url)
    yield server, client
    await client.aclose()


@pytest.mark.usefixtures("redis_client")
@PROPERTY
@given(
    calls=st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=40
    )
)
def test_the_script_answers_as_memory_does(
    valkey: str, calls: list[tuple[float, int, int]]
) -> None:
    """Two windows of one request, at the same times: the same is taken, and the same is said."""

    async def compare() -> None:
        async with open_redis(valkey) as redis:
            await redis.flushall()
            clock, memory = ManualClock(), MemoryRates()
            rates = shared(redis, clock)
            for wait, cost, other in calls:
                clock.advance(wait)
                charges = [Charge(ACME, RATE, cost), Charge(f"{ACME}:key", Rate(5, 60.0), other)]
                expected = memory.take(charges, clock.now_us() / 1e6)
                assert await rates.take(charges) == expected

    asyncio.run(compare())


Step = tuple[int, float, int, bool]
"""Of one replica: seconds before it, units, and whether Redis takes writes."""


def most_in_a_window(taken: list[tuple[float, int]]) -> int:
    """The most units that a minute holds: it begins with one of the calls."""
    return max(
        (sum(units for at, units in taken if start <= at < start + 60) for start, _ in taken),
        default=0,
    )


@PROPERTY
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 1), st.floats(0, 20), st.integers(1, 6), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_no_minute_holds_more_than_the_rate(own_valkey: str, steps: list[Step]) -> None:
    """Two replicas in any order, and a Redis that refuses to write now and then: a replica never
    lets through more than the rate, and both together neither while Redis is there."""

    async def play(faults: bool) -> list[list[tuple[float, int]]]:
        async with open_redis(own_valkey) as redis:
            await redis.config_set("maxmemory", 0)
            await redis.flushall()
            clock = ManualClock()
            replicas = [limiter(redis, clock), limiter(redis, clock)]
            taken: list[list[tuple[float, int]]] = [[], []]
            for replica, wait, units, writable in steps:
                clock.advance(wait)
                await redis.config_set("maxmemory", 0 if writable or not faults else 1)
                if (await replicas[replica].take([Charge(ACME, RATE, units)])).allowed:
                    taken[replica].append((clock.monotonic(), units))
            return taken

    for own in asyncio.run(play(faults=True)):
        assert most_in_a_window(own) <= RATE.amount
    first, second = asyncio.run(play(faults=False))
    assert most_in_a_window(first + second) <= RATE.amount


async def test_a_redis_that_refuses_to_write_is_away(frail: Frail) -> None:
    """So that the faults above are ones."""
    _, redis = frail
    await redis.config_set("maxmemory", 1)
    with pytest.raises(UnavailableError, match="OutOfMemory"):
        await shared(redis, ManualClock()).take([Charge(ACME, RATE)])


async def test_many_at_once_are_counted_once_each(redis_client: Redis) -> None:
    """Two replicas, forty calls of one tenant at once: ten are let through."""
    clock = ManualClock()
    replicas = [shared(redis_client, clock), shared(redis_client, clock)]
    taken = await asyncio.gather(
        *(replicas[n % 2].take([Charge(ACME, RATE)]) for n in range(40)),
        replicas[0].take([Charge(GLOBEX, RATE)]),
    )
    assert sum(answer.allowed for answer in taken[:40]) == 10
    assert taken[40].allowed


async def test_a_window_at_rest_leaves_redis(redis_client: Redis) -> None:
    await shared(redis_client, ManualClock()).take([Charge(ACME, RATE)])
    assert 110 < await redis_client.ttl(ACME) <= 120
    await shared(redis_client, ManualClock()).take([Charge(GLOBEX, RATE, 0)])
    assert await redis_client.exists(GLOBEX) == 0


async def test_a_clock_that_is_set_back_does_not_stop_a_tenant(redis_client: Redis) -> None:
    late, early = ManualClock(), ManualClock(ManualClock().now_us() - 3_600_000_000)
    assert (await shared(redis_client, late).take([Charge(ACME, RATE, 10)])).allowed
    assert (await shared(redis_client, early).take([Charge(ACME, RATE, 10)])).allowed


async def test_a_hash_holds_one_window(redis_client: Redis) -> None:
    clock = ManualClock()
    rates = shared(redis_client, clock)
    for _ in range(500):
        clock.advance(7)
        await rates.take([Charge(ACME, RATE)])
    assert await redis_client.hlen(ACME) <= SLICES + 1


async def test_redis_away_is_an_error_of_the_shared_rates_alone(frail: Frail) -> None:
    server, redis = frail
    server.kill()
    clock = ManualClock()
    with pytest.raises(UnavailableError):
        await shared(redis, clock).take([Charge(ACME, RATE)])
    assert (await limiter(redis, clock).take([Charge(ACME, RATE)])).allowed


async def test_a_key_of_another_kind_is_no_error_either(redis_client: Redis) -> None:
    await redis_client.set(ACME, "text")
    rates = limiter(redis_client, ManualClock())
    answers = [(await rates.take([Charge(ACME, RATE)])).allowed for _ in range(12)]
    assert answers == [True] * 10 + [False] * 2


async def test_what_was_counted_counts_while_redis_is_away(frail: Frail) -> None:
    """The replica knows what it let through; a Redis that goes away gives nothing back."""
    server, redis = frail
    clock = ManualClock()
    rates = limiter(redis, clock)
    assert (await rates.take([Charge(ACME, RATE, 7)])).allowed
    server.kill()
    assert (await rates.take([Charge(ACME, RATE, 3)])).allowed
    assert not (await rates.take([Charge(ACME, RATE)])).allowed
    assert (await rates.take([Charge(GLOBEX, RATE)])).allowed


@pytest.mark.parametrize("outage_s", [1.0, 30.0])
async def test_redis_comes_and_goes_and_the_rate_stays(frail: Frail, outage_s: float) -> None:
    """Calls all the time, one in each second: no window of a minute holds more than ten."""
    server, redis = frail
    clock, began = ManualClock(), ManualClock().monotonic()
    rates = limiter(redis, clock)
    times = []
    for second in range(180):
        if second in (20, 90):
            server.kill()
        if second in (20 + outage_s, 90 + outage_s):
            server.start()
        clock.advance(1)
        if (await rates.take([Charge(ACME, RATE)])).allowed:
            times.append(clock.monotonic() - began)
    assert max(sum(t <= other < t + 60 for other in times) for t in times) == 10
    assert len(times) >= 20


async def test_redis_is_asked_again_after_a_while(frail: Frail) -> None:
    server, redis = frail
    clock = ManualClock()
    rates, other = limiter(redis, clock), limiter(redis, clock)
    server.kill()
    assert (await rates.take([Charge(ACME, RATE, 1)])).allowed
    server.start()
    assert (await other.take([Charge(ACME, RATE, 9)])).allowed
    # Not asked yet: what the other replica took is not known.
    assert (await rates.take([Charge(ACME, RATE, 2)])).allowed
    clock.advance(RETRY_S)
    assert not (await rates.take([Charge(ACME, RATE, 2)])).allowed
    # And what was refused is not counted here.
    assert (await rates.take([Charge(ACME, RATE, 1)])).allowed
