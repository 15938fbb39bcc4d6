"""The flow of the demo, and the worker of its Python steps: `stepgres worker run flow:worker` in this folder.

`count` is served by examples/go/polyglot, `score` by examples/typescript/polyglot: a step refers to its handler by name,
and says nothing of the language.
"""

from __future__ import annotations

import os
import time
from typing import Any

import words

from stepgres_worker import Step, Worker

SLUG = "wordcount"
STEPS = (
    Step("list"),
    Step("count", ["list"], "map"),
    Step("score", ["count"], "map"),
    Step("report", ["score"]),
)
#: Which language serves which step; the workers bear these names.
LANGUAGES = {"list": "python", "count": "go", "score": "typescript", "report": "python"}
# A watch merges changes within a tenth of a second: a report on five files would be over before anyone saw it run.
_VISIBLE_S = 0.3

worker = Worker(name=os.environ.get("STEPGRES_WORKER_NAME"), concurrency=10)


@worker.step("list", flow=SLUG)
def read_texts(input: dict[str, Any]) -> list[words.Text]:
    """Reads the texts of a folder."""
    return words.read_texts(input["run"]["folder"])


@worker.step("report", flow=SLUG)
def report(input: dict[str, Any]) -> words.Text:
    """Puts together what is known of the texts."""
    started = time.monotonic()
    result = words.summarise(input["score"])
    time.sleep(max(0.0, _VISIBLE_S - (time.monotonic() - started)))
    return result
