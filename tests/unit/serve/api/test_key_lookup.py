"""Keys that wait share a query; when keys were used is written now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from cluster.core.roles import Role
from cluster.stores.db import Principal
from pipelines.clock import ManualClock
from pipelines.errors import UnavailableError
from serve.api.key_lookup import KeyLookup
from serve.api.key_uses import KeyUses

GOOD = Principal("acme", Role.VIEWER, "key:good")


class Records:
    """Knows one key; answers when told to."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def find(self, secrets: Collection[str]) -> Mapping[str, Principal]:
        self.asked.append(list(secrets))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return {"good": GOOD} if "good" in secrets else {}


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_good_key_waits_for_one_query_however_many_junk_keys_came_first() -> None:
    records = Records()
    lookup = KeyLookup(records.find)
    first = asyncio.create_task(lookup.find("junk"))
    await settled()
    junk = [asyncio.create_task(lookup.find(f"junk-{n}")) for n in range(100)]
    good = [asyncio.create_task(lookup.find("good")) for _ in range(3)]
    await settled()
    assert records.asked == [["junk"]]

    records.open.set()

    assert await asyncio.gather(*good) == [GOOD] * 3
    assert await asyncio.gather(first, *junk) == [None] * 101
    assert records.asked[1:] == [[*(f"junk-{n}" for n in range(100)), "good"]]
    await lookup.aclose()


async def test_a_query_is_bounded() -> None:
    records = Records()
    records.open.set()
    lookup = KeyLookup(records.find, max_batch=10)
    await asyncio.gather(*(lookup.find(f"junk-{n}") for n in range(25)))
    assert [len(asked) for asked in records.asked] == [10, 10, 5]
    await lookup.aclose()


async def test_one_that_goes_away_takes_nothing_from_the_others() -> None:
    records = Records()
    lookup = KeyLookup(records.find)
    gone, stays = (asyncio.create_task(lookup.find("good")) for _ in range(2))
    await settled()
    gone.cancel()
    await settled()
    records.open.set()
    assert await stays == GOOD
    await lookup.aclose()


async def test_all_hear_of_records_that_are_away_and_the_next_try_is_a_new_one() -> None:
    records = Records()
    records.open.set()
    records.error = UnavailableError("away")
    lookup = KeyLookup(records.find)
    tried = await asyncio.gather(lookup.find("good"), lookup.find("b"), return_exceptions=True)
    assert [type(error) for error in tried] == [UnavailableError] * 2
    records.error = None
    assert await lookup.find("good") == GOOD
    await lookup.aclose()


async def test_closing_cancels_those_who_wait() -> None:
    lookup = KeyLookup(Records().find)
    waiting = asyncio.create_task(lookup.find("good"))
    await settled()
    await lookup.aclose()
    await lookup.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_uses_are_kept_until_they_can_be_written() -> None:
    clock = ManualClock()
    written: list[Mapping[str, int]] = []
    away = True

    async def write(uses: Mapping[str, int]) -> None:
        if away:
            raise UnavailableError("away")
        written.append(uses)

    uses = KeyUses(write, clock)
    uses.note("a")
    first = clock.now_us()
    clock.advance(1)
    uses.note("b")
    await uses.flush()
    clock.advance(1)
    uses.note("b")
    away = False
    await uses.flush()
    await uses.flush()
    assert written == [{"a": first, "b": first + 2_000_000}]
