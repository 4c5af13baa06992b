"""The feed's reader of Redis: it outlives whatever Redis does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cluster.core.backoff import Backoff
from cluster.stores.bus import StreamEntry, StreamGapError
from pipelines.errors import UnavailableError
from serve.api import alarm_feed
from serve.api.alarm_feed import Subscription, TenantFeed
from serve.api.metrics import Metrics
from tests.factories import make_alarm

Step = Callable[[], list[StreamEntry]]


def fails(error: Exception) -> Step:
    def step() -> list[StreamEntry]:
        raise error

    return step


class ScriptedSource:
    """Answers reads by a script, then waits for ever. `tails`: what `tail_id` gives or raises."""

    def __init__(self, steps: list[Step], tails: list[str | Exception]) -> None:
        self._steps = iter(steps)
        self._tails = iter(tails)
        self.places: list[str] = []
        self.at_end = asyncio.Event()

    async def read(self, after: str, *, block_ms: int = 0, count: int) -> list[StreamEntry]:
        self.places.append(after)
        step = next(self._steps, None)
        if step is None:
            self.at_end.set()
            await asyncio.Event().wait()
        assert step is not None
        return step()

    async def tail_id(self) -> str:
        tail = next(self._tails)
        if isinstance(tail, Exception):
            raise tail
        return tail


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the feed wanted to make; each is only a turn of the loop here."""
    wanted: list[float] = []

    class NoPause(Backoff):
        def next_delay_s(self) -> float:
            wanted.append(super().next_delay_s())
            return 0.0

    monkeypatch.setattr(alarm_feed, "Backoff", NoPause)
    return wanted


async def run_through(source: ScriptedSource) -> tuple[TenantFeed, Metrics]:
    metrics = Metrics()
    feed = TenantFeed(source, metrics)
    await feed.start()
    async with asyncio.timeout(10):
        await source.at_end.wait()
    return feed, metrics


def errors(metrics: Metrics) -> float:
    value = metrics.registry.get_sample_value("atalaia_alarm_stream_read_errors_total")
    assert value is not None
    return value


async def test_pauses_grow_to_a_cap_with_jitter_and_start_over(delays: list[float]) -> None:
    away = fails(UnavailableError("Redis is away."))
    entry = StreamEntry("1-0", make_alarm())
    source = ScriptedSource([away] * 8 + [lambda: [entry]] + [away], ["0-0"])
    feed, metrics = await run_through(source)
    ceilings = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 0.2]
    assert len(delays) == len(ceilings)
    assert all(most / 2 <= delay <= most for delay, most in zip(delays, ceilings, strict=True))
    assert len(set(delays)) == len(delays)
    assert errors(metrics) == 9
    assert (feed.position, await feed.after("0-0", 0)) == ("1-0", [entry])
    await feed.aclose()


@pytest.mark.usefixtures("delays")
async def test_a_redis_that_goes_away_within_a_gap_does_not_end_the_reader() -> None:
    """The end of a trimmed stream is looked up in Redis too, and that can fail as well."""
    gap = fails(StreamGapError("trimmed"))
    away = UnavailableError("Redis is away.")
    entry = StreamEntry("8-0", make_alarm())
    source = ScriptedSource([gap, gap, lambda: [entry]], ["1-0", away, "7-0"])
    feed, metrics = await run_through(source)
    assert source.places == ["1-0", "1-0", "7-0", "8-0"]
    assert await feed.after("7-0", 0) == [entry]
    assert errors(metrics) == 1
    await feed.aclose()


async def test_who_comes_back_is_not_given_what_was_erased_meanwhile() -> None:
    """The ring still has it. What comes after is given from the ring, once each."""
    first, erased, last = (StreamEntry(f"{n}-0", make_alarm(n)) for n in (1, 2, 3))
    stream, at_end = [first, erased, last], asyncio.Event()

    class Stream:
        async def read(self, after: str, *, block_ms: int = 0, count: int) -> list[StreamEntry]:
            found = [e for e in stream if alarm_feed.order(e.stream_id) > alarm_feed.order(after)]
            if not found and block_ms:
                at_end.set()
                await asyncio.Event().wait()
            return found

        async def tail_id(self) -> str:
            return "0-0"

    feed = TenantFeed(Stream(), Metrics())
    await feed.start()
    async with asyncio.timeout(10):
        await at_end.wait()
    stream.remove(erased)
    subscription = Subscription(feed, "0-0")

    async def visible(cameras: frozenset[str]) -> frozenset[str]:
        return cameras

    async def still_good() -> bool:
        return True

    entries = subscription.entries(still_good, visible)
    assert [await anext(entries), await anext(entries)] == [first, last]
    new = StreamEntry("4-0", make_alarm(4))
    following = asyncio.create_task(anext(entries))
    await asyncio.sleep(0)
    feed._take([new])
    assert await following == new
    await entries.aclose()
    await feed.aclose()


async def test_who_comes_back_waits_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_feed, "RECHECK_S", 0.0)
    entry = StreamEntry("2-0", make_alarm(2))
    # The feed's own reader waits; the client asks twice.
    source = ScriptedSource([], ["1-0"])
    feed, _ = await run_through(source)
    source._steps = iter([fails(UnavailableError("Redis is away.")), lambda: [entry]])

    async def visible(cameras: frozenset[str]) -> frozenset[str]:
        return cameras

    async def still_good() -> bool:
        return True

    entries = Subscription(feed, "1-0").entries(still_good, visible)
    assert await anext(entries) == entry
    await entries.aclose()
    await feed.aclose()


async def test_what_nobody_can_decide_waits_and_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The records are away while the second of three alarms is to be shown."""
    monkeypatch.setattr(alarm_feed, "RECHECK_S", 0.0)
    found = [StreamEntry(f"{n}-0", make_alarm(n)) for n in (1, 2, 3)]
    feed, _ = await run_through(ScriptedSource([lambda: found], ["0-0"]))
    answers = iter([frozenset({"gate"}), None, frozenset(), frozenset({"gate"})])

    async def visible(cameras: frozenset[str]) -> frozenset[str]:
        assert cameras == {"gate"}
        if (answer := next(answers)) is None:
            raise UnavailableError("the records are away.")
        return answer

    async def still_good() -> bool:
        return True

    subscription = Subscription(feed, "0-0", resumed=False)
    entries = subscription.entries(still_good, visible)
    assert await anext(entries) == found[0]
    assert await anext(entries) == found[2]  # the second was hidden, once that was known
    assert subscription.cursor == "3-0"
    await entries.aclose()
    await feed.aclose()
