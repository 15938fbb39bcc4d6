"""history: the diamond beside a million finished runs, against the same on an empty database."""

from __future__ import annotations

import asyncio

import psycopg

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, define, timed_runs
from bench.stack import running_stack
from stepgres_worker import AsyncClient

TARGETS = {"history_ratio": Target(0.9)}
_TABLES = ("runs", "step_states", "step_tasks")


def _multiply(dsn: str, copies: int) -> None:
    """Copies the one finished run of the database, as often as asked, under ids of their own."""
    with psycopg.connect(dsn) as conn:
        conn.execute("create temp table ids as select pgflow.new_run_id() id from generate_series(1, %s)", (copies,))
        for table in _TABLES:
            row = conn.execute(
                "select string_agg(quote_ident(column_name), ', ') from information_schema.columns"
                " where table_schema = 'pgflow' and table_name = %s and column_name <> 'run_id'",
                (table,),
            ).fetchone()
            assert row is not None
            conn.execute(
                f"insert into pgflow.{table} (run_id, {row[0]}) select ids.id, {row[0]} from pgflow.{table}, ids"
            )


async def _diamonds(target: str, runs: int) -> float:
    async with AsyncClient(target) as client:
        return runs * len(DIAMOND) / await timed_runs(client, "diamond", runs)


async def _one(target: str) -> None:
    async with AsyncClient(target) as client:
        await define(client, "diamond", DIAMOND)
        await timed_runs(client, "diamond", 1)


def run(effort: Effort, figures: Figures) -> None:
    """Empty, straight after the load of the history, and after a vacuum."""
    runs, history = effort.scale(100_000, 10_000), effort.scale(1_000_000, 100_000)
    for _ in range(effort.rounds):
        with running_stack("bench.handlers:worker", 400) as stack:
            asyncio.run(_one(stack.target))
            figures.add("tasks_per_s_empty", asyncio.run(_diamonds(stack.target, runs)))
        with running_stack("bench.handlers:worker", 400) as stack:
            asyncio.run(_one(stack.target))
            _multiply(stack.dsn, history)
            figures.add("tasks_per_s_history.fresh", asyncio.run(_diamonds(stack.target, runs)))
            with psycopg.connect(stack.dsn, autocommit=True) as conn:
                conn.execute("vacuum analyze")
                conn.execute("checkpoint")
            figures.add("tasks_per_s_history", asyncio.run(_diamonds(stack.target, runs)))
    figures.ratio("history_ratio", "tasks_per_s_history", "tasks_per_s_empty")
