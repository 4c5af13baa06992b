"""Who is waited for, and for how long; by a clock that only the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from pipelines.clock import ManualClock
from serve.api.metrics import Metrics
from serve.api.pace import PIECE_BYTES, EndSlowClients, Patience

GRACE_S, RATE = 30.0, 32.0 * 1024
HTTP: Scope = {"type": "http"}


def test_a_client_that_does_nothing_has_the_grace() -> None:
    patience = Patience(GRACE_S, RATE)
    patience.waited(29.0, 0)
    assert patience.left_s == 1.0
    patience.waited(29.0, 0)
    assert patience.left_s == 0.0


def test_what_was_fast_saves_up_no_more_than_the_grace() -> None:
    patience = Patience(GRACE_S, RATE)
    patience.waited(0.1, 10**9)
    assert patience.left_s == GRACE_S


@given(st.lists(st.tuples(st.floats(0.001, 10), st.floats(1, 5)), max_size=100))
def test_whoever_keeps_the_rate_is_waited_for_as_long_as_it_takes(
    steps: list[tuple[float, float]],
) -> None:
    """A byte more than the rate asks for, for what floats round off."""
    patience = Patience(GRACE_S, RATE)
    for seconds, times in steps:
        patience.waited(seconds, int(seconds * RATE * times) + 1)
    assert patience.left_s == pytest.approx(GRACE_S)


@given(st.floats(0.01, 0.9), st.floats(0.1, 5))
def test_whoever_stays_below_it_is_not(part: float, step_s: float) -> None:
    patience, waited_s = Patience(GRACE_S, RATE), 0.0
    while patience.left_s > 0:
        patience.waited(step_s, int(step_s * RATE * part))
        waited_s += step_s
    assert waited_s <= GRACE_S / (1 - part) + 2 * step_s


class Client:
    """The other end: takes and sends what the test says, and moves the clock meanwhile."""

    def __init__(self, clock: ManualClock, body: list[tuple[float, bytes]] | None = None) -> None:
        self._clock = clock
        self._body = iter(body or [])
        self.got: list[Message] = []
        self.takes_s = 0.0
        self.stops_after: int | None = None

    async def send(self, message: Message) -> None:
        if self.stops_after is not None and len(self.got) >= self.stops_after:
            await asyncio.Event().wait()
        self._clock.advance(self.takes_s)
        self.got.append(message)

    async def receive(self) -> Message:
        step = next(self._body, None)
        if step is None:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")
        self._clock.advance(step[0])
        return {"type": "http.request", "body": step[1], "more_body": True}


def middleware(app: Any, clock: ManualClock, metrics: Metrics, grace_s: float) -> EndSlowClients:
    return EndSlowClients(app, clock, metrics, grace_s=grace_s, bytes_per_s=RATE)


async def test_a_long_body_is_sent_in_pieces_and_whole() -> None:
    clock, body = ManualClock(), bytes(range(256)) * 1024
    client = Client(clock)
    # Half the grace for each piece, at which a client takes more than the rate.
    client.takes_s = 1.5

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    await middleware(app, clock, Metrics(), 3.0)(HTTP, client.receive, client.send)

    _, *bodies = client.got
    assert b"".join(message["body"] for message in bodies) == body + b"end"
    assert max(len(message["body"]) for message in bodies) == PIECE_BYTES
    assert [message.get("more_body", False) for message in bodies] == [True] * 4 + [False]


async def test_an_answer_that_is_not_taken_is_cut_off_and_frees_what_it_held() -> None:
    clock, metrics, freed = ManualClock(), Metrics(), []
    client = Client(clock)
    client.stops_after = 3

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(100):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        finally:
            freed.append(True)

    await middleware(app, clock, metrics, 0.01)(HTTP, client.receive, client.send)

    assert freed == [True]
    assert len(client.got) == 3
    count = metrics.registry.get_sample_value
    assert count("atalaia_slow_clients_total", {"direction": "download"}) == 1.0


async def test_a_failure_of_the_application_stays_one() -> None:
    clock = ManualClock()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    client = Client(clock)
    with pytest.raises(RuntimeError, match="a bug"):
        await middleware(app, clock, Metrics(), 1.0)(HTTP, client.receive, client.send)


async def test_a_body_that_dribbles_gets_408() -> None:
    """Of the grace of 30 s each second leaves 1,000 / 32,768 s: it ends with the 31st."""
    clock, metrics, seen = ManualClock(), Metrics(), []
    client = Client(clock, [(1.0, bytes(1_000))] * 100)
    began_s = clock.monotonic()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            seen.append(await receive())

    with pytest.raises(HTTPException) as caught:
        await middleware(app, clock, metrics, GRACE_S)(HTTP, client.receive, client.send)
    assert caught.value.status_code == 408
    assert clock.monotonic() - began_s == 31
    assert len(seen) == 31
    count = metrics.registry.get_sample_value
    assert count("atalaia_slow_clients_total", {"direction": "upload"}) == 1.0
