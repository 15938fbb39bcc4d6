"""Structured logs on standard output: JSON for programs, aligned text for people."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from stepgres_service.config import Settings


def setup(settings: Settings) -> None:
    """Configures structlog, and the standard library's logging that grpc and psycopg use."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stdout.isatty())
    common: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        structlog.configure(
            processors=[
                *common,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[*common, structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(),
            cache_logger_on_first_use=True,
        )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(max(level, logging.WARNING))


def _dumps(event: dict[str, Any], **_: Any) -> bytes:
    return orjson.dumps(event, default=str)


class _Bridge(logging.Handler):
    """Lets lines of the standard library join the others."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(max(record.levelno, logging.DEBUG), record.getMessage(), logger=record.name, exc_info=record.exc_info)
