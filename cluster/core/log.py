"""Structured logs: a static message plus fields, with credentials redacted in both.

Every text is truncated before any other processing, so that the cost of a log line is bounded,
however long the logged value is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sized
from itertools import islice
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from cluster.core.redaction import (
    LOG_MAX_LINES,
    LOG_MAX_TEXT,
    RedactingFilter,
    redact,
    redact_lines,
)
from cluster.core.settings import LogSettings

__all__ = ["configure_logging", "get_logger", "redact"]


# Items shown of a list or a dictionary: more than anyone reads in a line.
MAX_ITEMS = 100
# Nesting depth of lists and dictionaries; deeper values are shown by their repr.
MAX_DEPTH = 4
# Fields that structlog makes of `exc_info` and `stack_info`.
_MANY_LINES = ("exception", "stack")


def _redacted(value: object, depth: int = 0) -> object:
    """`value` without credentials and with bounded length. Values that a renderer would show by
    their repr are converted to it."""
    if isinstance(value, str):
        return redact(value, LOG_MAX_TEXT)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < MAX_DEPTH and isinstance(value, dict):
        shown = {_key(k): _redacted(v, depth + 1) for k, v in islice(value.items(), MAX_ITEMS)}
        return shown | ({"…": _omitted(value)} if len(value) > MAX_ITEMS else {})
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        items = [_redacted(item, depth + 1) for item in islice(value, MAX_ITEMS)]
        return items + ([_omitted(value)] if len(value) > MAX_ITEMS else [])
    return redact(repr(value), LOG_MAX_TEXT)


def _key(key: object) -> object:
    return _redacted(key, MAX_DEPTH)


def _omitted(value: Sized) -> str:
    return f"[{len(value) - MAX_ITEMS:,} more]"


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        k: redact_lines(v, LOG_MAX_LINES)
        if k in _MANY_LINES and isinstance(v, str)
        else _redacted(v)
        for k, v in event.items()
    }


class _Stderr:
    """What `sys.stderr` is when something is written: a test or a view may replace it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_STDERR = cast("TextIO", _Stderr())


def configure_logging(settings: LogSettings, *, for_good: bool = True) -> None:
    """Log to stderr in the configured format. Call once, at an entry point.

    Args:
        for_good: loggers keep this configuration once they are used, which saves time per line;
            False: it may be replaced.
    """
    logging.getLogger("httpx").addFilter(RedactingFilter())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(_STDERR),
        cache_logger_on_first_use=for_good,
    )


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines have the field `component` with this name."""
    return cast("FilteringBoundLogger", structlog.get_logger(component=name))
