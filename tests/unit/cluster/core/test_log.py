"""Whatever is logged, a line has a bounded length and costs a bounded time."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from cluster.core.log import MAX_DEPTH, MAX_ITEMS, configure_logging
from cluster.core.redaction import LOG_MAX_LINES, LOG_MAX_TEXT, RedactingFilter
from cluster.core.settings import LogSettings
from tests.growth import ALLOWED, spent_s

SECRET = "hunter2"
URL = f"rtsp://admin:{SECRET}@10.0.0.5/s"
# A secret that the cut goes through, and what is behind it.
STRADDLING = "x" * (LOG_MAX_TEXT - 15) + " " + URL + "y" * 1_000


Log = Callable[..., str]


@pytest.fixture
def logged() -> Iterator[Log]:
    """Log at level info and return the line written."""
    before = structlog.get_config()
    configure_logging(LogSettings())
    written = io.StringIO()
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(written), cache_logger_on_first_use=False
    )

    def log(message: str = "tried", **fields: object) -> str:
        start = written.tell()
        structlog.get_logger().info(message, **fields)
        return written.getvalue()[start:]

    yield log
    structlog.configure(**before)


@pytest.mark.parametrize(
    "value",
    [
        STRADDLING,
        [STRADDLING],
        {"a": STRADDLING},
        {STRADDLING: 1},
        {(STRADDLING, 1): 1},
        ValueError(STRADDLING),
        STRADDLING.encode(),
        {"a": [{"b": (STRADDLING,)}]},
    ],
    ids=["text", "list", "dict", "key", "tuple as key", "repr", "bytes", "nested"],
)
def test_a_long_value_is_truncated_and_a_cut_credential_is_hidden(
    logged: Log, value: object
) -> None:
    line = logged(value=value)
    assert len(line) < LOG_MAX_TEXT + 500
    assert " more characters]" in line
    assert SECRET[:2] not in line


def test_the_message_is_cut_too(logged: Log) -> None:
    assert len(logged("x" * 100_000)) < LOG_MAX_TEXT + 500


def test_long_collections_say_how_much_is_omitted(logged: Log) -> None:
    line = json.loads(
        logged(many=list(range(MAX_ITEMS + 7)), by_name={f"k{n}": n for n in range(1_000)})
    )
    assert line["many"] == [*range(MAX_ITEMS), "[7 more]"]
    assert len(line["by_name"]) == MAX_ITEMS + 1
    assert line["by_name"]["…"] == "[900 more]"


def test_deeply_nested_values_are_shown_by_their_repr(logged: Log) -> None:
    endless: list[object] = [URL]
    endless.append(endless)
    line = logged(endless=endless)
    value = json.loads(line)["endless"]
    for _ in range(MAX_DEPTH - 1):
        value = value[1]
    assert isinstance(value[1], str)
    assert SECRET not in line


def raised(message: str) -> BaseException:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


@pytest.mark.parametrize("message", [STRADDLING * 100, "\n".join([URL] * 10_000)])
def test_a_traceback_is_cut(logged: Log, message: str) -> None:
    line = logged(exc_info=raised(message))
    shown = json.loads(line)["exception"]
    assert len(shown) < LOG_MAX_LINES + 100
    assert shown.startswith("Traceback")
    assert " more characters]" in shown
    assert SECRET[:2] not in shown


def test_the_last_lines_of_a_traceback_stay(logged: Log) -> None:
    error = raised("first\n" + "line of a long message\n" * 10_000 + f"the last word of {URL}")
    shown = json.loads(logged(exc_info=error))["exception"]
    assert shown.endswith("the last word of rtsp://***@10.0.0.5/s")


def test_the_filter_cuts_messages_and_tracebacks_of_libraries() -> None:
    error = raised(STRADDLING * 100)
    record = logging.LogRecord(
        "httpx", 20, "f", 1, "GET %s", (STRADDLING,), (type(error), error, error.__traceback__)
    )
    assert RedactingFilter().filter(record)
    text = logging.Formatter().format(record)
    assert len(text) < LOG_MAX_TEXT + LOG_MAX_LINES + 500
    assert "Traceback" in text
    assert SECRET[:2] not in text


def test_the_run_time_does_not_grow_with_the_omitted_part(logged: Log) -> None:
    """Truncation must come first: the second text is 64 times as long."""
    short, long = "a." * LOG_MAX_TEXT, "a." * (64 * LOG_MAX_TEXT)
    least_short = min(spent_s(lambda: logged(value=short)) for _ in range(8))
    least_long = min(spent_s(lambda: logged(value=long)) for _ in range(8))
    assert least_long < ALLOWED * least_short
    assert sys.getsizeof(long) > 60 * sys.getsizeof(short)
