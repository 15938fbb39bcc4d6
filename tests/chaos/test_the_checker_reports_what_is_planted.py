"""Each violation alone, planted in a system that is in order: the checker must report exactly that."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.chaos.conftest import Settled
from tests.chaos.journal import read_journal

pytestmark = pytest.mark.slow

#: The last task of a diamond that nobody has looked at.
_LEAF = """
    select r.run_id::text, t.step_index, s.output ->> 'by'
    from pgflow.runs as r
    join pgflow.step_tasks as t on t.run_id = r.run_id
    join pgflow.step_states as s on s.run_id = t.run_id and s.step_index = t.step_index
    join pgflow.workflow_steps as w on w.version_id = r.version_id and w.step_index = t.step_index
    where r.status = 'completed' and w.workflow_slug = 'diamond' and w.step_slug = 'join' and r.run_id <> all(%(seen)s)
    limit 1
"""


@pytest.fixture
def leaf(settled: Settled) -> dict[str, str]:
    run, step, by = settled.row(_LEAF, seen=settled.seen_runs())
    return {"run": run, "step": step, "by": by}


def test_a_system_in_order_has_no_violation(settled):
    assert settled.check() == {}


def test_a_lost_run(settled, leaf):
    for table in ("runs", "step_states", "step_tasks"):
        settled.execute(f"delete from pgflow.{table} where run_id = %(run)s", run=leaf["run"])
    assert settled.check() == {"lost": 1}


def test_a_lost_task(settled, leaf):
    settled.execute("delete from pgflow.step_tasks where run_id = %(run)s and step_index = %(step)s", **leaf)
    assert settled.check() == {"lost": 1}


def test_a_run_that_never_ends(settled, leaf):
    settled.execute("update pgflow.runs set status = 'started', completed_at = null where run_id = %(run)s", **leaf)
    assert settled.check() == {"stuck": 1}


def test_a_doubled_record(settled, leaf):
    for status in ("started", "completed"):
        settled.execute(
            "update pgflow.step_tasks set status = %(status)s where run_id = %(run)s and step_index = %(step)s",
            status=status, **leaf,
        )  # fmt: skip
    assert settled.check() == {"recorded_twice": 1}


def replace(settled: Settled, leaf: dict[str, str]) -> None:
    """Stores the output of another execution of the task; the journal knows that one too."""
    other = uuid.uuid4().hex
    settled.write("execution", run=leaf["run"], step="join", index=0, attempt=1, worker="w", by=other, saw=[])
    settled.execute(
        "update pgflow.step_states set output = %(output)s where run_id = %(run)s and step_index = %(step)s",
        output=json.dumps({"by": other}), **leaf,
    )  # fmt: skip


def test_a_replaced_result(settled, leaf):
    replace(settled, leaf)
    assert settled.check() == {"replaced": 1}


def test_a_result_that_was_replaced_behind_the_back_of_the_database(settled, leaf):
    settled.write("seen", run=leaf["run"], saw=[leaf["by"]])
    settled.execute("alter table pgflow.step_states disable trigger user")
    replace(settled, leaf)
    assert settled.check() == {"replaced": 1}


def test_a_result_that_no_execution_made(settled, leaf):
    kept = [entry for entry in read_journal(settled.journal) if entry.get("by") != leaf["by"]]
    settled.journal.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
    assert settled.check() == {"unexecuted": 1}


@pytest.mark.parametrize("status", ["queued", "started"])
def test_a_live_task_under_a_run_that_has_ended(settled, status):
    run, step, index = settled.row(
        "select r.run_id, t.step_index, t.task_index"
        " from pgflow.runs as r join pgflow.step_tasks as t on t.run_id = r.run_id"
        " where r.status in ('failed', 'cancelled') and t.status = 'cancelled' limit 1"
    )
    settled.execute(
        "update pgflow.step_tasks set status = %(status)s"
        " where run_id = %(run)s and step_index = %(step)s and task_index = %(index)s",
        status=status, run=run, step=step, index=index,
    )  # fmt: skip
    assert settled.check() == {"live_tasks": 1}


def test_an_orphan_message(settled, leaf):
    (queue,) = settled.row("select queue_name from pgmq.list_queues() order by 1 limit 1")
    message = json.dumps({"k": 1, "r": leaf["run"], "s": leaf["step"], "i": 0})
    settled.execute("select pgmq.send(%(queue)s, %(message)s::jsonb)", queue=queue, message=message)
    assert settled.check() == {"orphan_messages": 1}


def test_an_attempt_too_many_in_the_database(settled, leaf):
    settled.execute(
        "update pgflow.step_tasks set failures = 4 where run_id = %(run)s and step_index = %(step)s", **leaf
    )
    assert settled.check() == {"attempts": 1}


def test_an_attempt_too_many_by_a_handler(settled, leaf):
    settled.write(
        "execution", run=leaf["run"], step="join", index=0, attempt=4, worker="w", by=uuid.uuid4().hex, saw=[]
    )
    assert settled.check() == {"attempts": 1}
