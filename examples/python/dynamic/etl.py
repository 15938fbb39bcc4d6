"""An ETL over real files: find them, read each in a task of its own, load SQLite once, report.

    python etl.py [FOLDER] [DATABASE]      # by default the folder docs of this repository, and a database beside it

Needs a coordinator: `stepgres dev`, or STEPGRES_TARGET.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from pathlib import Path

from stepgres_worker import AsyncClient, Context, Flow, TaskError, Worker

flow = Flow("etl", max_attempts=5, timeout_s=60)


@flow.step
def extract(input: dict) -> list[str]:
    """Lists the Markdown files of the folder in the run's input."""
    folder = Path(input["run"]["folder"])
    if not folder.is_dir():
        raise TaskError(f"{folder} is no folder", code="NO_FOLDER", retryable=False)
    return sorted(str(path) for path in folder.rglob("*.md"))


@flow.map(over=extract)
def transform(input: dict) -> dict:
    """Counts what is in one file."""
    text = Path(input["item"]).read_text(encoding="utf-8")
    return {"path": input["item"], "lines": text.count("\n"), "words": len(text.split())}


@flow.step(depends_on=[transform])
def load(input: dict, ctx: Context) -> int:
    """Writes the rows. Executed again after a crash it replaces its own rows: nothing is there twice."""
    rows = input["transform"]
    with sqlite3.connect(input["run"]["database"]) as database:
        database.execute("create table if not exists files (run text, path text, lines int, words int)")
        database.execute("delete from files where run = ?", (ctx.run_id,))
        database.executemany(
            "insert into files values (?, ?, ?, ?)", [(ctx.run_id, r["path"], r["lines"], r["words"]) for r in rows]
        )
    return len(rows)


@flow.step(depends_on=[transform, load])
def report(input: dict) -> dict:
    """Sums up."""
    rows = input["transform"]
    return {
        "files": input["load"],
        "words": sum(row["words"] for row in rows),
        "longest": max(rows, key=lambda row: row["lines"])["path"] if rows else None,
    }


async def main(folder: Path, database: Path) -> None:
    """Serves the flow, runs it once, prints the report."""
    worker = Worker(flow)
    serving = asyncio.create_task(worker.serve())
    async with AsyncClient() as client:
        await worker.wait_ready()
        run = await client.start_run("etl", {"folder": str(folder), "database": str(database)})
        found = (await run.result(timeout=120))["report"]
    worker.stop()
    await serving
    print(f"{found['files']} files with {found['words']} words are in {database}; the longest is {found['longest']}")


if __name__ == "__main__":
    here = Path(__file__).resolve()
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else here.parents[3] / "docs"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp()) / "etl.sqlite"
    asyncio.run(main(source.resolve(), target.resolve()))
