"""Results and the leases behind them are committed together or not at all, though no statement says BEGIN."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from stepgres_service.store.arrays import register_columns
from stepgres_service.store.lane import Lane, LaneBlocked
from stepgres_service.store.pool import Database
from stepgres_service.store.tasks import LeaseRequest, PayloadLimits, ResultColumns, TaskStore
from tests.support.transitions import Lease, Transitions


def _completed(lease: Lease) -> ResultColumns:
    return ResultColumns(
        run_ids=[lease.run_id.bytes],
        step_indexes=[lease.step_index],
        task_indexes=[lease.task_index],
        lease_seqs=[lease.lease_seq],
        session_ids=[lease.session_id.bytes],
        outcomes=[1],
        outputs=[b"1"],
    )


async def test_a_lease_that_fails_takes_the_results_before_it_back(
    conn: psycopg.AsyncConnection[Any], database: str
) -> None:
    register_columns(conn)
    engine = Transitions(conn)
    store = TaskStore(Database(database, min_size=1, max_size=1), PayloadLimits())
    await engine.define("flow", first=[], second=["first"])
    run_id = await engine.start("flow")
    session_id = await engine.open_session()
    (lease,) = await engine.lease(session_id)
    (row,) = await engine.rows("select route_id, queue_id from pgflow.routes where handler = 'flow.second'")
    # The first statement makes the second step's task ready; the second one meets a message that is none of ours.
    foreign = f'{{"k": {row.route_id}, "r": "no run", "s": 0, "i": 0}}'
    await engine.rows("select pgmq.send(%s, %s::jsonb)", f"pgflow_{row.queue_id}", foreign)
    (worker,) = await engine.rows("select worker_id from pgflow.step_tasks where worker_id is not null")
    request = LeaseRequest([row.route_id], [0], [session_id.bytes], [worker.worker_id], [10])

    for _ in range(3):  # once it is prepared as well
        with pytest.raises(psycopg.DataError):
            await store.exchange(conn, _completed(lease), [request])
        assert await engine.states(run_id) == {"first": "started", "second": "created"}

    await engine.rows(f"delete from pgmq.q_pgflow_{int(row.queue_id)} where message ->> 'r' = 'no run'")
    exchange = await store.exchange(conn, _completed(lease), [request])
    assert list(exchange.verdicts) == [1]
    assert [(task.step_index, task.attempt) for tasks in exchange.leased for task in tasks] == [(1, 1)]
    assert await engine.states(run_id) == {"first": "completed", "second": "started"}


async def test_an_exchange_that_fails_leaves_the_connection_as_it_was(
    conn: psycopg.AsyncConnection[Any], database: str
) -> None:
    """What would have been prepared in it was not, and is not believed to be."""
    engine = Transitions(conn)
    database_of_lane = Database(database, min_size=1, max_size=1)
    lane = Lane(database_of_lane, TaskStore(database_of_lane, PayloadLimits()))
    await engine.define("flow", work=[])
    runs = await engine.start_runs([("flow", n, None) for n in range(8)])
    session_id = await engine.open_session()
    leases = await engine.lease(session_id)

    async def record(n: int) -> list[int]:
        watched = [(leases[n].run_id, 0)]
        return list((await lane.exchange(_completed(leases[n]), [], patient=False, watched=watched)).verdicts)

    assert len(runs) == 8
    for failing in range(1, 5):
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from pgflow.runs where run_id = %s for update", (leases[failing].run_id,))
            with pytest.raises(LaneBlocked):
                await record(failing)
        for _ in range(failing):
            # (Duplicates, from the second time on.)
            assert await record(failing) in ([1], [2])
    await lane.close()
