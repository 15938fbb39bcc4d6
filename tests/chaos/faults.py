"""Does to the processes and connections what the schedule says, and takes the times of recovery."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from dataclasses import dataclass

from tests.chaos.balancer import Balancer
from tests.chaos.cluster import Database, Node, signal_all, until_ready
from tests.chaos.journal import Journal
from tests.chaos.recovery import Recovery
from tests.chaos.schedule import Fault

#: Where an orchestrator would look at its processes next.
_RESTART_S = 0.5

#: When both sides of a half-open connection have noticed.
_HALF_OPEN_S = 40.0


@dataclass
class System:
    """Everything that can be broken."""

    database: Database
    coordinators: list[Node]
    workers: list[Node]
    balancer: Balancer


class Faults:
    """Breaks the system.

    Args:
        system: what is broken.
        journal: told of each fault.
        recovery: told of each kill.
    """

    def __init__(self, system: System, journal: Journal, recovery: Recovery) -> None:
        self._system = system
        self._journal = journal
        self._recovery = recovery
        #: Processes that something is being done to.
        self._busy: set[str] = set()
        #: How often what was done: worker, coordinator, postgres, cuts, stops.
        self.done: Counter[str] = Counter()

    async def run(self, faults: list[Fault], duration_s: int) -> None:
        """Does all of them in time, and undoes what lasts; returns when every process runs again."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as under_way:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                under_way.create_task(self._do(fault))
            await asyncio.sleep(max(0.0, began + duration_s - time.monotonic()))

    async def _do(self, fault: Fault) -> None:
        kind = fault.kind
        if kind == "postgres":
            await self._kill_postgres(fault)
        elif kind in ("cut", "half_open"):
            await self._break_connection(fault)
        elif kind.startswith("stop_"):
            await self._stop(fault)
        else:
            await self._kill(fault)

    async def _take(self, nodes: list[Node], fault: Fault) -> Node:
        """One of the processes that nothing is being done to; waits until there is one."""
        while not (free := [node for node in nodes if node.name not in self._busy]):
            await asyncio.sleep(0.05)
        node = free[int(fault.chance * len(free))]
        self._busy.add(node.name)
        return node

    async def _take_database(self) -> None:
        name = self._system.database.name
        while name in self._busy:
            await asyncio.sleep(0.05)
        self._busy.add(name)

    async def _kill(self, fault: Fault) -> None:
        workers, coordinators = [], []
        if fault.kind in ("worker", "both"):
            workers.append(await self._take(self._system.workers, fault))
        if fault.kind == "both":
            # Its own coordinator, so that nobody is left who knows that it is gone.
            own = await asyncio.to_thread(self._recovery.coordinator_of, workers[0].life)
            nodes = [node for node in self._system.coordinators if node.identity() == own]
            coordinators.append(await self._take(nodes or self._system.coordinators, fault))
        elif fault.kind == "coordinator":
            coordinators.append(await self._take(self._system.coordinators, fault))
        killed = workers + coordinators
        lives, ids = [node.life for node in killed], [node.identity() for node in coordinators]
        at = time.time()
        for node in killed:
            await asyncio.to_thread(node.kill)
        self.done["worker"] += len(workers)
        self.done["coordinator"] += len(coordinators)
        self._recovery.killed(fault.kind, at, [node.life for node in workers], ids)
        await self._journal.append("fault", what=fault.kind, names=lives)
        await asyncio.sleep(_RESTART_S)
        for node in killed:
            await asyncio.to_thread(node.start)
        await until_ready(coordinators)
        self._busy.difference_update(node.name for node in killed)
        if coordinators:
            self._recovery.disturbed(at, time.time())

    async def _kill_postgres(self, fault: Fault) -> None:
        database = self._system.database
        await self._take_database()
        how = ("kill", "immediate", "backend")[int(fault.chance * 3)]
        at = time.time()
        if how == "backend":
            await asyncio.to_thread(database.kill_backend)
        else:
            await asyncio.to_thread(database.kill, signal.SIGKILL if how == "kill" else signal.SIGQUIT)
        self.done["postgres"] += 1
        self._recovery.postgres_killed(at)
        await self._journal.append("fault", what="postgres", names=[how])
        if how != "backend":
            await asyncio.to_thread(database.restart)
        self._recovery.disturbed(at, time.time() + _RESTART_S)
        self._busy.discard(database.name)

    async def _break_connection(self, fault: Fault) -> None:
        while not (open_now := sorted(self._system.balancer.connections, key=lambda found: found.client)):
            await asyncio.sleep(0.05)
        connection = open_now[int(fault.chance * len(open_now))]
        if fault.kind == "cut":
            connection.cut()
        else:
            connection.half_open()
            self._recovery.absent.add(connection.client)
            loop = asyncio.get_running_loop()
            loop.call_later(_HALF_OPEN_S, self._recovery.absent.discard, connection.client)
        self.done["cuts"] += 1
        await self._journal.append("fault", what=fault.kind, names=[connection.client])

    async def _stop(self, fault: Fault) -> None:
        system = self._system
        if fault.kind == "stop_postgres":
            await self._take_database()
            name, processes = system.database.name, system.database.processes()
        else:
            nodes = system.workers if fault.kind == "stop_worker" else system.coordinators
            node = await self._take(nodes, fault)
            name, processes = node.name, node.processes()
        at = time.time()
        self._recovery.absent.add(name)
        signal_all(processes, signal.SIGSTOP)
        self.done["stops"] += 1
        await self._journal.append("fault", what=fault.kind, names=[name], stop_s=fault.stop_s)
        await asyncio.sleep(fault.stop_s)
        signal_all(processes, signal.SIGCONT)
        await self._journal.append("fault", what="continue", names=[name])
        self._busy.discard(name)
        self._recovery.absent.discard(name)
        if fault.kind != "stop_worker":
            self._recovery.disturbed(at, time.time())
