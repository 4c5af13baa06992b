"""Ids of requests and traces: taken over where they can be used, made anew elsewhere."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest
import structlog
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from cluster.core.log import configure_logging, get_logger
from cluster.core.settings import LogSettings
from serve.api.tracing import TraceRequests, trace_of

# The example of the W3C recommendation.
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{PARENT}-01"


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode()) for name, value in pairs])


def test_the_callers_trace_goes_on_with_a_part_of_ours() -> None:
    trace = trace_of(headers(("traceparent", SENT), ("x-request-id", "req-1")))
    assert (trace.request_id, trace.trace_id, trace.flags) == ("req-1", TRACE, "01")
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", trace.traceparent)
    assert trace.span_id != PARENT


def test_a_later_version_says_the_same_and_more() -> None:
    assert trace_of(headers(("traceparent", f"01-{TRACE}-{PARENT}-01-more"))).trace_id == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        "", "nonsense", SENT.upper(), f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{PARENT}", f"00-{TRACE[1:]}-{PARENT}-01",
        f"{SENT}\n{SENT}",
    ],
)  # fmt: skip
def test_what_is_no_trace_is_not_taken_over(parent: str) -> None:
    made = trace_of(headers(("traceparent", parent)))
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made.traceparent)
    assert made.trace_id not in (TRACE, TRACE.upper(), "0" * 32)


def test_two_that_contradict_each_other_are_none() -> None:
    other = SENT.replace("4bf9", "0000")
    trace = trace_of(headers(("traceparent", SENT), ("traceparent", other)))
    assert trace.trace_id not in (TRACE, other.split("-")[1])


@pytest.mark.parametrize("name", ["", "two words", "a" * 129, "-x", "x\ny", "<script>", "\u00e9"])
def test_a_name_that_no_log_should_have_is_replaced(name: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", trace_of(headers(("x-request-id", name))).request_id)


async def answer_to(*sent: tuple[str, str]) -> dict[str, str]:
    """The headers of an answer to a request, in whose course one line is logged."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_logger("test").warning("said")
        await send({"type": "http.response.start", "status": 503, "headers": []})

    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    raw = [(name.encode(), value.encode()) for name, value in sent]
    await TraceRequests(app)({"type": "http", "headers": raw}, receive, send)
    return {name.decode(): value.decode() for name, value in got[0]["headers"]}


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged meanwhile, as JSON lines."""
    before = structlog.get_config()
    configure_logging(LogSettings(format="json"))
    written = io.StringIO()
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(written), cache_logger_on_first_use=False
    )
    yield written
    structlog.configure(**before)


async def test_answers_and_log_lines_name_the_request(written: io.StringIO) -> None:
    answered = await answer_to(("traceparent", SENT))
    get_logger("test").warning("afterwards")
    during, after = (json.loads(line) for line in written.getvalue().splitlines())
    assert answered["traceparent"].split("-")[1] == TRACE == during["trace_id"]
    assert answered["x-request-id"] == during["request_id"]
    assert "request_id" not in after


async def test_a_name_that_the_proxy_returns_is_not_returned_twice(
    written: io.StringIO,
) -> None:
    assert "x-request-id" not in await answer_to(("x-request-id", "of-the-proxy"))
