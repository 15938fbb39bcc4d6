"""The log's set-up: formats, levels, the bridge from the standard library."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from grpc._cython import cygrpc

from stepgres_service import log
from stepgres_service.config import Settings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def settings(**given: Any) -> Settings:
    return Settings(database_url="postgresql://x", **given)


@pytest.fixture
def as_json(capsysbinary: pytest.CaptureFixture[bytes]) -> Any:
    log.setup(settings())
    return lambda: [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]


def test_without_a_terminal_a_line_is_one_json_object(as_json):
    structlog.get_logger("a").info("worker connected", worker="w1", count=3)

    [line] = as_json()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "worker connected", "level": "info", "worker": "w1", "count": 3}


def test_what_fast_json_refuses_is_logged_all_the_same(as_json):
    structlog.get_logger("a").info("odd", surrogate="\ud800", large=2**70, key={1: object})

    [line] = as_json()
    assert line["large"] == 2**70


def test_an_exception_is_text_without_local_variables(as_json):
    password = "hunter2"  # noqa: F841
    try:
        raise ValueError("wrong")
    except ValueError as error:
        structlog.get_logger("a").warning("failed", exc_info=error)

    [line] = as_json()
    assert "ValueError: wrong" in line["exception"]


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, 35])
def test_lines_of_the_standard_library_join(as_json, level):
    logging.getLogger("some.library").log(level, "lost %s", "x")

    [line] = as_json()
    assert (line["event"], line["logger"]) == ("lost x", "some.library")


def test_chatter_of_libraries_is_left_out(as_json):
    logging.getLogger("asyncio").info("chatter")

    assert as_json() == []


def test_lines_below_the_level_are_left_out(capsysbinary):
    log.setup(settings(log_level="warning", log_format="json"))

    structlog.get_logger("a").info("no")
    structlog.get_logger("a").warning("yes")

    assert b"yes" in (out := capsysbinary.readouterr().out)
    assert b"no" not in out.replace(b"not", b"")


def test_for_people_a_line_is_text_and_tracebacks_show_no_values(capsys):
    log.setup(settings(log_format="console"))
    secret = "hunter" + "2"
    try:
        raise ValueError("wrong")
    except ValueError as error:
        structlog.get_logger("a").warning("failed", exc_info=error)

    out = capsys.readouterr().out
    assert "failed" in out
    assert "ValueError: wrong" in out
    assert secret not in out


def test_a_peer_that_hangs_up_is_no_error_and_other_faults_of_grpc_are(as_json):
    log.hide_hang_ups()
    log.hide_hang_ups()
    grpc_logger = logging.getLogger("grpc._cython.cygrpc")
    for fault in (cygrpc.ExecuteBatchError("execute_batch"), RuntimeError("other")):
        try:
            raise fault
        except Exception:
            grpc_logger.exception("raised in core by servicer method [WatchRun]")

    [line] = as_json()
    assert "RuntimeError: other" in line["exception"]
