"""How long an answer about the dependencies is shared."""

from __future__ import annotations

from pipelines.clock import ManualClock
from pipelines.errors import UnavailableError
from serve.api.readiness import READY_TTL_S, Readiness


async def test_an_answer_is_shared_for_its_time_and_no_longer() -> None:
    clock, asked = ManualClock(), 0

    async def probe() -> None:
        nonlocal asked
        asked += 1

    readiness = Readiness({"redis": probe}, clock)
    await readiness.states()
    clock.advance(READY_TTL_S - 0.01)
    await readiness.states()
    assert asked == 1
    clock.advance(0.02)
    await readiness.states()
    assert asked == 2


async def test_each_answer_says_how_long_it_took_and_what_is_wrong() -> None:
    clock = ManualClock()

    async def slow() -> None:
        clock.advance(0.25)

    async def away() -> None:
        raise UnavailableError("redis://user:secret@host is away")

    async def broken() -> None:
        raise RuntimeError("rtsp://user:secret@host is broken")

    states = await Readiness({"slow": slow, "away": away, "broken": broken}, clock).states()
    assert (states["slow"].status, states["slow"].ms) == ("up", 250.0)
    assert (states["away"].status, states["away"].detail) == ("down", "unavailable")
    assert (states["broken"].status, states["broken"].detail) == ("down", "RuntimeError")


async def test_what_is_up_may_have_something_to_say() -> None:
    async def listener() -> str:
        return "not recorded: alarms 3 (trimmed)"

    async def other() -> int:
        return 7

    states = await Readiness({"listener": listener, "other": other}, ManualClock()).states()
    said = {name: (state.status, state.detail) for name, state in states.items()}
    assert said == {"listener": ("up", "not recorded: alarms 3 (trimmed)"), "other": ("up", None)}
