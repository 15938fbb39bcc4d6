"""Runs the scenarios, prints a table for people and one JSON object as the last line."""

from __future__ import annotations

import json
import os
import statistics
import sys

from bench.scenarios import diamond, raw
from bench.stack import assert_durable, commit_cost_ms, running_stack

QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS = 1 if QUICK else 3
#: Runs of the diamond in a round: some 10 s and more at the rates of a 2-core machine.
RUNS = 10_000 if QUICK else 50_000
RAW_MESSAGES = 20_000 if QUICK else 100_000


def _spread(values: list[float]) -> str:
    return f"{min(values):,.0f} … {max(values):,.0f}"


def main() -> None:
    """Measures diamond (400 credits, SDK default, sync) and raw pgmq in turn on one server."""
    figures: dict[str, list[float]] = {}
    cases = (
        ("tasks_per_s", "bench.handlers:worker", 400),
        ("tasks_per_s_default", "bench.handlers:worker", 100),
        ("tasks_per_s_sync", "bench.handlers:worker_sync", 400),
    )
    raw_rates: list[tuple[float, int]] = []
    details: dict[str, float] = {}
    for round_number in range(ROUNDS):
        for key, handlers, concurrency in cases:
            with running_stack(handlers, concurrency) as stack:
                if not figures:
                    print(f"{assert_durable(stack.dsn)}, {os.cpu_count()} cores, fsync and synchronous_commit on")
                    details["commit_ms"] = commit_cost_ms(stack.dsn)
                    print(f"a small durable commit takes {details['commit_ms']:.2f} ms")
                result = diamond.measure(stack, RUNS)
                figures.setdefault(key, []).append(result.tasks_per_s)
                details[f"{key}_commits_per_task"] = result.commits_per_task
                details[f"{key}_wal_bytes_per_task"] = result.wal_bytes_per_task
                print(
                    f"round {round_number + 1}: {key:<22} {result.tasks_per_s:>9,.0f}   "
                    f"{result.commits_per_task:.4f} commits, {result.wal_bytes_per_task:,.0f} WAL bytes a task",
                    flush=True,
                )
                if key == "tasks_per_s":
                    raw_rates.append(raw.best(stack, RAW_MESSAGES))
                    print(f"round {round_number + 1}: raw pgmq, batch {raw_rates[-1][1]:<8} {raw_rates[-1][0]:>9,.0f}")
    _report(figures, raw_rates, details)


def _report(figures: dict[str, list[float]], raw_rates: list[tuple[float, int]], details: dict[str, float]) -> None:
    figures = {**figures, "raw_pgmq_per_s": [rate for rate, _ in raw_rates]}
    medians = {key: statistics.median(values) for key, values in figures.items()}
    print()
    for key, values in figures.items():
        print(f"{key:<24} {medians[key]:>10,.0f}   {_spread(values)}")
    ratio = medians["tasks_per_s"] / medians["raw_pgmq_per_s"]
    print(f"{'ratio':<24} {ratio:>10.2f}")
    if QUICK:
        print("QUICK: one short round; quote figures of a full run only")
    print(
        json.dumps(
            {
                **{key: round(value) for key, value in medians.items()},
                "ratio": round(ratio, 3),
                "quick": QUICK,
                "rounds": ROUNDS,
                "runs_per_round": RUNS,
                **{key: round(value, 4) for key, value in details.items()},
            }
        )
    )


if __name__ == "__main__":
    sys.exit(main())
