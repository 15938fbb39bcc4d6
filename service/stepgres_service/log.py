"""Structured logs on standard output: JSON for programs, aligned text for people."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import orjson
import structlog

from stepgres_service.config import Settings

_LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
_GRPC = "grpc._cython.cygrpc"


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
        # Plain tracebacks: the pretty ones show local variables, and with them payloads and addresses.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        structlog.configure(
            processors=[*common, renderer],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(),
            cache_logger_on_first_use=True,
        )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    # Each try of each connection and each error in a pipeline is a line there; what it means for us, our own lines say.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    # Libraries are chatty below a warning, and speak of each query and each frame.
    root.setLevel(max(level, logging.WARNING))


def hide_hang_ups() -> None:
    """Keeps gRPC from calling it an error, with a traceback, when a peer hangs up while its call is being answered."""
    logging.getLogger(_GRPC).addFilter(_is_no_hang_up)


def _is_no_hang_up(record: logging.LogRecord) -> bool:
    # What could not be sent is the last of a call that is over. The class is no part of gRPC's public names.
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


def _dumps(event: dict[str, Any], **_: Any) -> bytes:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # Lone surrogates and integers beyond 64 bits, which a line of the log must survive.
        return json.dumps(event, default=str).encode()


class _Bridge(logging.Handler):
    """Lets lines of the standard library join the others."""

    def emit(self, record: logging.LogRecord) -> None:
        # Structlog knows the five levels only.
        level = next((known for known in _LEVELS if record.levelno >= known), logging.DEBUG)
        logger = structlog.get_logger(record.name)
        logger.log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info or None)
