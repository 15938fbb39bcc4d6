"""The demo's two flows and their worker: `stepgres worker run flow:worker` in this folder serves both.

`code_report` wraps the pure functions of `analyse`; each step also returns the seconds its handler took, so that the
demo can tell the engine's time from the handlers'. `diamond` does nothing, as fast as possible.
"""

from __future__ import annotations

import time
from typing import Any

import analyse

from stepgres_worker import Flow, Worker

code_report = Flow("code_report", timeout_s=120)
# A watch merges changes within a tenth of a second; a report on five files would be over before anyone saw it run.
_VISIBLE_S = 0.3


@code_report.step
def list_files(input: dict[str, Any]) -> list[str]:
    return analyse.list_files(input["run"]["folder"])


@code_report.map(over=list_files)
def parse(input: dict[str, Any], ctx: Any) -> dict[str, Any]:
    folder = ctx.run_input()["folder"]
    started = time.thread_time()  # the time of this thread alone, without its waiting for the others
    facts = analyse.parse_file(folder, input["item"])
    return {"facts": facts, "handler_s": time.thread_time() - started}


@code_report.step(depends_on=[parse])
def report(input: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    result = analyse.summarise([item["facts"] for item in input["parse"]])
    time.sleep(max(0.0, _VISIBLE_S - (time.perf_counter() - started)))
    return {
        "report": result,
        "parse_handler_s": sum(item["handler_s"] for item in input["parse"]),
        "report_handler_s": time.perf_counter() - started,
    }


diamond = Flow("diamond")


@diamond.step
async def top(input: dict[str, Any]) -> None:
    """Nothing."""


@diamond.step(depends_on=[top])
async def left(input: dict[str, Any]) -> None:
    """Nothing."""


@diamond.step(depends_on=[top])
async def right(input: dict[str, Any]) -> None:
    """Nothing."""


@diamond.step(depends_on=[left, right])
async def bottom(input: dict[str, Any]) -> None:
    """Nothing."""


worker = Worker(code_report, diamond, concurrency=200)
