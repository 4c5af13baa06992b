"""The leases of two controllers in a real Valkey. Its own time counts, so leases here are very long
or very short, and nothing depends on how fast this machine is."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from cluster.controller.lease import Grant, Refusal
from cluster.controller.lease_keeper import BootClock, LeaseKeeper
from cluster.controller.lease_store import RedisLease
from cluster.stores.bus.keys import LEASE_KEY

LONG_S, SHORT_S = 3_600.0, 0.02
PATIENCE_S = 60.0


async def granted(store: RedisLease, owner: str, incarnation: str, lease_s: float) -> Grant:
    """Ask until it is granted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await store.ask(owner, incarnation, lease_s, first=False)
            if isinstance(answer, Grant):
                return answer
            await asyncio.sleep(SHORT_S)


async def test_two_controllers_never_hold_it_and_the_loser_takes_over(
    redis_client: Redis,
) -> None:
    store = RedisLease(redis_client)
    clock = BootClock()
    first, second = (LeaseKeeper(store, owner, LONG_S, clock) for owner in ("blue", "green"))
    for _ in range(2):
        await first.step()
        await second.step()
        assert (first.held, second.held, second.elsewhere) == (True, False, True)
    token = first.token()
    await first.release()
    await second.step()
    await first.step()
    assert (first.held, second.held, first.elsewhere) == (False, True, True)
    assert second.token() > token


async def test_many_at_once_and_one_has_it(redis_client: Redis) -> None:
    store = RedisLease(redis_client)
    asking = (store.ask(f"cluster-{n}", str(n), LONG_S, first=True) for n in range(20))
    answers = await asyncio.gather(*asking)
    assert sum(isinstance(answer, Grant) for answer in answers) == 1
    assert len({answer.owner for answer in answers if isinstance(answer, Refusal)}) == 1


async def test_a_lease_ends_and_tokens_grow(redis_client: Redis) -> None:
    store = RedisLease(redis_client)
    tokens = [(await granted(store, owner, owner, SHORT_S)).token for owner in "abab"]
    assert tokens == sorted(set(tokens))
    again = await store.ask("b", "b", LONG_S, first=False)
    assert again == Grant(tokens[-1]), "it had ended, and nobody else had it meanwhile"
    assert await store.ask("a", "a", LONG_S, first=False) == Refusal("b")


async def test_tokens_grow_also_where_the_server_lost_them(redis_client: Redis) -> None:
    store = RedisLease(redis_client)
    before = await granted(store, "a", "1", LONG_S)
    await redis_client.delete(LEASE_KEY)
    await asyncio.sleep(0.01)  # the server's milliseconds
    after = await granted(store, "b", "2", LONG_S)
    assert after.token > before.token


async def test_a_controller_that_is_started_again_does_not_wait_for_itself(
    redis_client: Redis,
) -> None:
    store = RedisLease(redis_client)
    earlier = await granted(store, "a", "1", LONG_S)
    later = await store.ask("a", "2", LONG_S, first=True)
    assert isinstance(later, Grant)
    assert later.token > earlier.token
    assert await store.ask("a", "1", LONG_S, first=False) == Refusal("a")
    await store.release("a", "1")
    assert await store.ask("b", "3", LONG_S, first=True) == Refusal("a"), "not the earlier's to end"
