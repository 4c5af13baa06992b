"""One controller commands at a time, whatever happens to them, to the store and to time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller.lease import (
    USABLE,
    Answer,
    Fence,
    Grant,
    Lease,
    LeaseEvent,
    LeaseState,
    NotInCommandError,
    Refusal,
    advance,
    at,
    heard,
)
from cluster.controller.lease_keeper import LeaseKeeper, lead
from pipelines.clock import ManualClock
from pipelines.errors import UnavailableError

LEASE_S = 8.0


class Shelf:
    """A store of leases in memory, with the server's own time, that can be away."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.away = False
        self.held: tuple[str, str, int, float] | None = None
        self.deaf = False

    async def ask(self, owner: str, incarnation: str, lease_s: float, *, first: bool) -> Answer:
        if self.away:
            raise UnavailableError("away")
        now = self.clock.monotonic()
        token = 0
        if self.held is not None:
            held_by, held_as, token, until = self.held
            if (held_by, held_as) != (owner, incarnation):
                if until > now and not (first and held_by == owner):
                    return Refusal(held_by)
                token += 1
        else:
            token = 1
        self.held = (owner, incarnation, token, now + lease_s)
        if self.deaf:
            raise UnavailableError("it was granted, and the answer was lost")
        return Grant(token)

    async def release(self, owner: str, incarnation: str) -> None:
        if self.away:
            raise UnavailableError("away")
        if self.held is not None and self.held[:2] == (owner, incarnation):
            self.held = (*self.held[:3], 0.0)


class Rival:
    """A controller with a clock of its own, which stands still while it is paused."""

    def __init__(self, shelf: Shelf, owner: str) -> None:
        self.clock = ManualClock()
        self.keeper = LeaseKeeper(shelf, owner, LEASE_S, self.clock)


# ------------------------------------------------------------ transitions


def test_every_event_in_every_state() -> None:
    """Written out from what each means, and not from the table."""
    expected = {
        "granted": {"standing by": "holding", "holding": "holding", "lapsed": "holding"},
        "refused": dict.fromkeys(("standing by", "holding", "lapsed"), "standing by"),
        "unanswered": {s: s for s in ("standing by", "holding", "lapsed")},
        "expired": {"holding": "lapsed"},
    }
    for state, event in itertools.product(LeaseState, LeaseEvent):
        after = expected[event.value].get(state.value)
        if after is None:
            with pytest.raises(ValueError, match="cannot happen"):
                advance(state, event)
        else:
            assert advance(state, event) is LeaseState(after)


def test_a_holder_stops_before_the_lease_ends() -> None:
    lease = heard(Lease(), Grant(7), asked_s=100.0, lease_s=8.0)
    assert at(lease, 105.9).state is LeaseState.HOLDING
    assert at(lease, 106.0) == Lease(LeaseState.LAPSED, 7)
    assert USABLE * 8.0 == 6.0


def test_no_answer_lengthens_nothing() -> None:
    lease = heard(Lease(), Grant(7), asked_s=100.0, lease_s=8.0)
    assert heard(lease, None, asked_s=105.0, lease_s=8.0) == lease


def test_workers_obey_no_earlier_holder() -> None:
    fence = Fence()
    for token in (0, 5, 5, 9):
        fence.admit(token)
    with pytest.raises(NotInCommandError, match="token 5"):
        fence.admit(5)
    fence.admit(9)


# ------------------------------------------------------------ rivals

MOVES = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2)),
    st.tuples(st.just("pass"), st.floats(0.01, 12.0)),
    st.tuples(st.just("restart"), st.integers(0, 2)),
    st.tuples(st.sampled_from(["away", "deaf"]), st.booleans()),
    st.tuples(st.just("release"), st.integers(0, 2)),
)


@given(st.lists(MOVES, max_size=60), st.lists(st.floats(0.8, 1.2), min_size=3, max_size=3))
def test_never_do_two_clusters_command(moves: list[tuple[str, float]], speeds: list[float]) -> None:
    """Each with a clock that is up to a fifth wrong; asked after every move."""

    async def play() -> None:
        shelf = Shelf()
        rivals = [Rival(shelf, owner) for owner in "abc"]
        tokens = [0]
        for move, value in moves:
            index = int(value) if move in ("ask", "restart", "release") else 0
            match move:
                case "ask":
                    await rivals[index].keeper.step()
                case "restart":
                    rivals[index] = Rival(shelf, "abc"[index])
                case "release":
                    await rivals[index].keeper.release()
                case "pass":
                    shelf.clock.advance(value)
                    for rival, speed in zip(rivals, speeds, strict=True):
                        rival.clock.advance(value * speed)
                case "away":
                    shelf.away = bool(value)
                case "deaf":
                    shelf.deaf = bool(value)
            commanding = [rival.keeper.token() for rival in rivals if rival.keeper.held]
            assert len(commanding) <= 1
            tokens += commanding
        assert tokens == sorted(tokens), "a later holder has a higher token"

    asyncio.run(play())


async def test_the_loser_takes_over_when_the_holder_dies() -> None:
    shelf = Shelf()
    holder, loser = Rival(shelf, "a"), Rival(shelf, "b")
    await holder.keeper.step()
    await loser.keeper.step()
    assert (holder.keeper.held, loser.keeper.held) == (True, False)
    assert loser.keeper.elsewhere
    waited = 0.0
    while not loser.keeper.held:
        for clock in (shelf.clock, loser.clock, holder.clock):
            clock.advance(LEASE_S / 4)
        waited += LEASE_S / 4
        await loser.keeper.step()
    assert waited == LEASE_S
    assert loser.keeper.token() > 1
    with pytest.raises(NotInCommandError):
        holder.keeper.token()


async def test_a_holder_whose_own_time_stood_still_is_fenced_off_by_workers() -> None:
    """As a machine that was suspended, with a clock that did not notice: its next command comes
    before its next question, and the worker has heard of the later holder."""
    shelf, worker = Shelf(), Fence()
    paused, next_one = Rival(shelf, "a"), Rival(shelf, "b")
    await paused.keeper.step()
    worker.admit(paused.keeper.token())
    shelf.clock.advance(LEASE_S)
    await next_one.keeper.step()
    worker.admit(next_one.keeper.token())
    with pytest.raises(NotInCommandError):
        worker.admit(paused.keeper.token())
    await paused.keeper.step()
    with pytest.raises(NotInCommandError):
        paused.keeper.token()


async def test_one_that_is_started_again_in_the_same_cluster_does_not_wait() -> None:
    shelf = Shelf()
    earlier, later = Rival(shelf, "a"), Rival(shelf, "a")
    await earlier.keeper.step()
    await later.keeper.step()
    assert later.keeper.held
    await earlier.keeper.step()
    assert not earlier.keeper.held
    assert not earlier.keeper.elsewhere, "it must not stop the workers that the later one leads"
    await later.keeper.step()
    assert later.keeper.held, "and the earlier one does not take it back"


async def test_without_the_store_a_holder_goes_on_until_it_lapses_and_holds_it_again() -> None:
    shelf = Shelf()
    rival = Rival(shelf, "a")
    await rival.keeper.step()
    token, shelf.away = rival.keeper.token(), True
    for clock in (shelf.clock, rival.clock):
        clock.advance(5.9)
    await rival.keeper.step()
    assert rival.keeper.held
    rival.clock.advance(0.1)
    assert rival.keeper.lease.state is LeaseState.LAPSED
    assert not rival.keeper.elsewhere
    shelf.away = False
    await rival.keeper.step()
    assert rival.keeper.token() == token


# ------------------------------------------------------------ what goes with it


class Diary:
    """Work that notes when it begins and ends."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def work(self) -> None:
        self.lines.append("work")
        try:
            await asyncio.Event().wait()
        finally:
            self.lines.append("stop")

    async def stand_by(self) -> None:
        self.lines.append("stand by")

    async def has(self, *lines: str) -> None:
        async with asyncio.timeout(60):
            while self.lines != list(lines):  # noqa: ASYNC110 - tasks run between looks
                await asyncio.sleep(0)


async def led(diary: Diary, keeper: LeaseKeeper, body: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.create_task(lead(keeper, diary.work, diary.stand_by))
    try:
        await body()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_work_goes_with_the_lease() -> None:
    shelf, diary = Shelf(), Diary()
    mine, other = Rival(shelf, "a"), Rival(shelf, "b")

    async def body() -> None:
        await diary.has("work")
        shelf.clock.advance(LEASE_S)
        await other.keeper.step()
        await mine.keeper.step()
        await diary.has("work", "stop", "stand by")
        await other.keeper.release()
        await mine.keeper.step()
        await diary.has("work", "stop", "stand by", "work")

    await led(diary, mine.keeper, body)
    assert diary.lines[-1] == "stop"


async def test_workers_of_a_cluster_run_on_while_nobody_answers() -> None:
    shelf, diary = Shelf(), Diary()
    rival = Rival(shelf, "a")

    async def body() -> None:
        await diary.has("work")
        shelf.away = True
        rival.clock.advance(LEASE_S)
        await rival.keeper.step()
        await diary.has("work", "stop")
        shelf.away = False
        await rival.keeper.step()
        await diary.has("work", "stop", "work")

    await led(diary, rival.keeper, body)
    assert "stand by" not in diary.lines


async def test_work_that_fails_is_begun_again() -> None:
    diary, rival = Diary(), Rival(Shelf(), "a")
    failing = iter([True, False])

    async def work() -> None:
        if next(failing):
            diary.lines.append("failed")
            raise RuntimeError("a bug")
        await diary.work()

    task = asyncio.create_task(lead(rival.keeper, work, diary.stand_by))
    await diary.has("failed")
    async with asyncio.timeout(60):
        while diary.lines != ["failed", "work"]:
            await asyncio.sleep(0)
            await rival.keeper.step()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
