"""peers: the diamond against procrastinate, DBOS and awa, each by its own bulk path, in turn on the same server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
from psycopg import sql

from bench.figures import Effort, Figures, Target
from bench.load import DIAMOND, define, timed_runs
from bench.peers.environment import NotMeasured, python_of
from bench.peers.run import Peer, about, pace
from bench.stack import durable_server, running_stack
from stepgres_service.dev.postgres import ROLE
from stepgres_worker import AsyncClient

TARGETS = {
    "peer_ratio_procrastinate": Target(30),
    "peer_ratio_dbos": Target(30),
    "peer_ratio_awa": Target(4),
}
_CREDITS = 400
_PEERS = (
    Peer(
        "procrastinate",
        1,
        (15_000, 1_500),
        2,
        "select count(*) from procrastinate_jobs where status = 'succeeded'",
        ("procrastinate_jobs",),
        "it has no DAG: single jobs against our tasks, without dependencies, without stored results",
    ),
    Peer(
        "dbos",
        len(DIAMOND),
        (2_000, 200),
        2,
        "select count(*) from dbos.operation_outputs",
        ("dbos", "workflow_status"),
        "the same four steps; they run in the process that took the workflow, ours on any worker",
    ),
    Peer(
        "awa",
        1,
        (100_000, 20_000),
        1,
        # Jobs that ended well are kept as batches, all others one by one; of what it has removed since it keeps the sum.
        "select (select coalesce(sum(completed_count), 0) from awa.receipt_completion_batches)"
        " + (select count(*) from awa.done_entries)"
        " + (select coalesce(sum(pruned_completed_count), 0) from awa.queue_terminal_rollups)",
        (),
        "it has no DAG: single jobs against our tasks, without dependencies, without stored results",
    ),
)


async def _ours(target: str, runs: int) -> float:
    async with AsyncClient(target) as client:
        await define(client, "diamond", DIAMOND)
        return runs * len(DIAMOND) / await timed_runs(client, "diamond", runs)


def _pair(peer: Peer, python: Path, effort: Effort, figures: Figures) -> None:
    """Ours, then the peer, on one server, each in its own database."""
    with durable_server() as server:
        with running_stack("bench.handlers:worker", _CREDITS, server=server) as stack:
            rate = asyncio.run(_ours(stack.target, effort.scale(100_000, 10_000)))
        # Vacuuming after us would be work beside theirs.
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(ROLE)))
        theirs = pace(peer, python, server, effort.scale(*peer.units), effort.scale(60, 20))
    # Only together: a rate of ours without theirs would shift the median of the ratio.
    figures.add(f"tasks_per_s_beside_{peer.name}", rate)
    figures.add(f"peer_{peer.name}_per_s", theirs.per_s)
    if theirs.drain_per_s is not None:
        figures.add(f"peer_{peer.name}_per_s.drain", theirs.drain_per_s)


def _environments() -> dict[Peer, Path]:
    """The peers that can be measured here, each with its interpreter; says what each is."""
    found = {}
    print(f"  ours: {_CREDITS} credits, one worker, one coordinator, StartRuns by 500; timed like theirs")
    for peer in _PEERS:
        try:
            python = python_of(peer.name)
            print(f"  {about(peer.name, python)}; {peer.workers} worker process{'es' * (peer.workers > 1)}")
            print(f"    differs: {peer.differs}")
            found[peer] = python
        except NotMeasured as why:
            print(f"  {peer.name}: NOT MEASURED: {why}")
    return found


def _pair_or_not(peer: Peer, python: Path, effort: Effort, figures: Figures) -> bool:
    """Measures a pair, once more when the peer fails; whether it was measured."""
    for what_next in ("once more", "NOT MEASURED"):
        try:
            _pair(peer, python, effort, figures)
            return True
        except NotMeasured as why:
            print(f"  {peer.name}: {what_next}: {why}", flush=True)
    return False


def run(effort: Effort, figures: Figures) -> None:
    """Ours and a peer in turn, for each peer; ratios of the medians."""
    measured = _environments()
    for _ in range(effort.rounds):
        for peer, python in list(measured.items()):
            if not _pair_or_not(peer, python, effort, figures):
                # Half a comparison is none.
                figures.forget(f"peer_{peer.name}_per_s", f"peer_{peer.name}_per_s.drain")
                figures.forget(f"tasks_per_s_beside_{peer.name}")
                del measured[peer]
    for peer in measured:
        figures.ratio(f"peer_ratio_{peer.name}", f"tasks_per_s_beside_{peer.name}", f"peer_{peer.name}_per_s")
