"""Links and long answers end with their key or session; most look-ups are remembered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from cluster.core.holders import Credential
from cluster.core.roles import Role
from cluster.stores.db import Principal
from pipelines.clock import ManualClock
from pipelines.errors import UnavailableError
from serve.api.held_answer import RECHECK_S, HeldAnswer
from serve.api.holding import CACHE_TTL_S, Holding
from serve.api.short_memory import ShortMemory

ANA = Principal("acme", Role.VIEWER, "user:ana", "s-1")
PROMOTED = Principal("acme", Role.ADMIN, "user:ana", "s-1")


class Records:
    def __init__(self) -> None:
        self.working = {ANA.credential: ANA}
        self.asked = 0
        self.away = False

    async def principals(self, wanted: Collection[Credential]) -> Mapping[Credential, Principal]:
        self.asked += 1
        if self.away:
            raise UnavailableError("the records are away")
        return {one: self.working[one] for one in wanted if one in self.working}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def holding(records: Records, clock: ManualClock) -> Holding:
    stands_in: Any = records
    return Holding(stands_in, clock)


async def test_it_is_looked_up_once_in_two_seconds(
    holding: Holding, records: Records, clock: ManualClock
) -> None:
    for _ in range(5):
        assert await holding.holds(ANA.holder)
    assert records.asked == 1
    clock.advance(CACHE_TTL_S)
    assert await holding.holds(ANA.holder)
    assert records.asked == 2


async def test_it_ends_within_two_seconds(
    holding: Holding, records: Records, clock: ManualClock
) -> None:
    assert await holding.holds(ANA.holder)
    records.working.clear()
    clock.advance(CACHE_TTL_S)
    assert not await holding.holds(ANA.holder)
    assert not await holding.may_go_on(ANA.holder)


async def test_new_rights_are_not_refused_because_of_remembered_ones(
    holding: Holding, records: Records, clock: ManualClock
) -> None:
    assert await holding.holds(ANA.holder)
    records.working[ANA.credential] = PROMOTED
    assert await holding.holds(PROMOTED.holder)
    assert not await holding.holds(ANA.holder)


async def test_records_that_are_away_refuse_a_link_and_end_no_answer(
    holding: Holding, records: Records
) -> None:
    records.away = True
    with pytest.raises(UnavailableError):
        await holding.holds(ANA.holder)
    assert await holding.may_go_on(ANA.holder)


def test_what_was_used_least_recently_is_forgotten(clock: ManualClock) -> None:
    memory: ShortMemory[str, int] = ShortMemory(clock, 2.0, 2)
    memory.keep("a", 1)
    memory.keep("b", 2)
    assert memory.get("a") == 1
    memory.keep("c", 3)
    assert [memory.get(key) for key in "abc"] == [1, None, 3]
    memory.forget("a")
    memory.forget("a")
    assert memory.get("a") is None


class Client:
    """What a client got of an answer in pieces of which each takes a second."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.got: list[bytes] = []
        self.good = True
        self.checks = 0

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.got.append(message["body"])
            self.clock.advance(1)

    async def still_good(self) -> bool:
        self.checks += 1
        return self.good

    async def take(self, pieces: int, content_type: str, *, made_for_s: float = 0.0) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.clock.advance(made_for_s)
            headers = [(b"content-type", content_type.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for n in range(pieces):
                await send({"type": "http.response.body", "body": b"%d" % n, "more_body": True})
            await send({"type": "http.response.body", "body": b"end", "more_body": False})

        nothing: Any = None
        await HeldAnswer(self.send, self.still_good, self.clock).of(app, nothing, nothing)


async def test_a_long_answer_is_checked_now_and_then(clock: ManualClock) -> None:
    client = Client(clock)
    await client.take(9, "video/mp4")
    assert client.got[-1] == b"end"
    assert client.checks == 9 // RECHECK_S


async def test_a_long_answer_ends_with_its_key(clock: ManualClock) -> None:
    client = Client(clock)
    client.good = False
    await client.take(9, "video/mp4")
    assert client.got == [b"0", b"1"]
    assert client.checks == 1


async def test_a_short_answer_is_sent_even_where_its_request_ended_the_key(
    clock: ManualClock,
) -> None:
    client = Client(clock)
    client.good = False
    await client.take(0, "application/json", made_for_s=60)
    assert client.got == [b"end"]


async def test_event_streams_check_by_themselves(clock: ManualClock) -> None:
    client = Client(clock)
    client.good = False
    await client.take(9, "text/event-stream; charset=utf-8")
    assert client.got[-1] == b"end"


async def test_other_failures_are_not_hidden(clock: ManualClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a bug")

    client, nothing = Client(clock), object()
    with pytest.raises(RuntimeError, match="a bug"):
        await HeldAnswer(client.send, client.still_good, clock).of(app, nothing, nothing)  # type: ignore[arg-type]
