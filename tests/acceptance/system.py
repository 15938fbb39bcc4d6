"""A whole system of real processes that a test breaks as it likes: coordinators, workers, and what they wrote down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stepgres_service.dev.process import free_port
from stepgres_worker import AsyncClient, AsyncRun, RunSpec, Step
from tests.acceptance.processes import PATIENCE_S
from tests.chaos.balancer import Balancer
from tests.chaos.checker import Findings, check
from tests.chaos.cluster import Node, add_audit, coordinator, until_ready, worker
from tests.chaos.drill import settle
from tests.chaos.journal import Entry, read_journal

#: A lease so short that a test can wait for its end.
SHORT_LEASE = {"STEPGRES_LEASE_S": "3", "STEPGRES_HEARTBEAT_S": "1"}
#: As above, where nobody's lease should end however slow the machine is.
LONG_LEASE = {"STEPGRES_LEASE_S": "60", "STEPGRES_HEARTBEAT_S": "5"}

_DIAMOND = (
    Step("split", handler="work"),
    Step("left", depends_on=["split"], handler="work"),
    Step("right", depends_on=["split"], handler="work_in_thread"),
    Step("join", depends_on=["left", "right"], handler="work"),
)


@dataclass
class System:
    """The processes, and a client of theirs."""

    dsn: str
    folder: Path
    coordinators: list[Node]
    workers: list[Node]
    balancer: Balancer
    client: AsyncClient
    _diamonds: int = field(default=0)

    @property
    def gate(self) -> Path:
        """The file for which the handlers of `gated` runs wait."""
        return self.folder / "gate"

    @property
    def journal(self) -> Path:
        """What handlers wrote down."""
        return self.folder / "journal.jsonl"

    async def start_gated(self, tasks: int) -> AsyncRun:
        """Starts a run of so many tasks and waits until all of them are being executed."""
        await self.client.create_flow("gated", [Step("each", step_type="map", handler="wait_for_gate")])
        run = await self.client.start_run("gated", [{"gate": str(self.gate)}] * tasks)
        await self.until(lambda: len(self.executions()) == tasks)
        return run

    def busiest_first(self) -> list[Node]:
        """The workers, those with most executions first: all tasks may have gone to one."""
        return sorted(self.workers, key=lambda node: -len(self.executions(node)))

    async def start_diamonds(self, count: int) -> None:
        """Starts runs of four steps each."""
        await self.client.create_flow("diamond", _DIAMOND)
        self._diamonds += 1
        specs = [RunSpec("diamond", {}, idempotency_key=f"{self._diamonds}-{number}") for number in range(count)]
        for result in await self.client.start_runs(specs):
            assert result.error is None, result.error

    def entries(self, kind: str) -> list[Entry]:
        """What was written down, of one kind."""
        return [entry for entry in read_journal(self.journal) if entry["kind"] == kind] if self.journal.exists() else []

    def executions(self, node: Node | None = None) -> list[Entry]:
        """What handlers began to execute, of one worker or of all."""
        return [
            entry for entry in self.entries("execution") if node is None or entry["worker"].startswith(f"{node.name}.")
        ]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that other processes do."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                for node in (*self.coordinators, *self.workers):
                    node.check()
                await asyncio.sleep(0.02)

    async def finish(self) -> Findings:
        """Waits until every run has ended, ends all processes, and has everything checked."""
        await settle(self.dsn)
        for node in (*self.workers, *self.coordinators):
            await asyncio.to_thread(node.stop)
        findings = await asyncio.to_thread(check, self.dsn, self.journal)
        assert findings.ok, findings.violations
        return findings


@asynccontextmanager
async def system(
    dsn: str, folder: Path, *, coordinators: int = 2, workers: int = 2, settings: dict[str, str]
) -> AsyncIterator[System]:
    """Starts everything on a migrated database, and leaves no process.

    Args:
        dsn: of the database.
        folder: for the journal and the logs.
        coordinators: how many, behind one balancer.
        workers: how many; each has an address of its own at the balancer.
        settings: of the coordinators.
    """
    add_audit(dsn)
    async with AsyncExitStack() as stack:
        ports = [free_port() for _ in range(coordinators)]
        balancer = await stack.enter_async_context(Balancer(ports))
        serving = [coordinator(n + 1, port, dsn, folder, settings) for n, port in enumerate(ports)]
        journal = folder / "journal.jsonl"
        working = [worker(n + 1, await balancer.open(f"worker-{n + 1}"), journal, folder) for n in range(workers)]
        for node in (*serving, *working):
            node.start()
            stack.callback(node.stop)
        await until_ready(serving)
        client = await stack.enter_async_context(AsyncClient(await balancer.open("client"), timeout_s=PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S):
            while len((await client.list_workers()).items) < 2 * workers:  # a session for each of the two scopes
                await asyncio.sleep(0.05)
        yield System(dsn, folder, serving, working, balancer, client)
