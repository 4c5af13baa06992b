"""Structured logs: a static message, fields beside it, credentials never in either."""

from __future__ import annotations

import logging
import sys
from typing import cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from cluster.redaction import RedactingFilter, redact
from cluster.settings import LogSettings

__all__ = ["configure_logging", "get_logger", "redact"]


def _redacted(value: object) -> object:
    """`value` without credentials; what a renderer would show by its repr becomes that text."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {_redacted(k): _redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item) for item in value]
    return redact(repr(value))


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {k: _redacted(v) for k, v in event.items()}


def configure_logging(settings: LogSettings) -> None:
    """Send every log line of this process to stderr in the chosen format. Call at entry points."""
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> FilteringBoundLogger:
    return cast("FilteringBoundLogger", structlog.get_logger(component=name))
