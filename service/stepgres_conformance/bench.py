"""What a point works with: the system, the proxy, the worker under test, and bounded waits."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stepgres.v1 import flow_pb2
from stepgres_conformance import runs
from stepgres_conformance.point import Broken, Point
from stepgres_conformance.process import Unusable, WorkerProcess
from stepgres_conformance.proxy import Proxy, Stream
from stepgres_conformance.runs import Run
from stepgres_conformance.system import System
from stepgres_conformance.tape import Tape

#: Seconds to wait for what a worker does at once.
PATIENCE_S = 8.0
#: Seconds for a worker to start and connect: it may have to be compiled.
CONNECT_S = 60.0
#: Seconds between looks at what gives no signal, such as a file.
_LOOK_S = 0.02
#: Seconds in which a worker should have nothing in hand any more after a point.
_SETTLE_S = 3.0


class Bench:
    """Everything around one worker process at a time.

    Args:
        command: starts the worker under test.
        system: database and coordinator.
        folder: for the workers' files.
        volume: tasks of the point that sends many.
    """

    def __init__(self, command: Sequence[str], system: System, folder: Path, volume: int) -> None:
        self._command = command
        self.system = system
        self._folder = folder
        self.volume = volume
        self._changed = asyncio.Event()
        self.proxy = Proxy(self._changed.set)
        self.worker: WorkerProcess | None = None
        self._runs: list[Run] = []

    @property
    def tape(self) -> Tape:
        """What the present worker process has sent and got."""
        return self.proxy.tape

    @property
    def process(self) -> WorkerProcess:
        """The present worker process."""
        assert self.worker is not None, "no worker was started"
        return self.worker

    @property
    def stream(self) -> Stream:
        """The worker's stream that was welcomed last."""
        return self.proxy.streams[self.tape.stream]

    def mark(self) -> int:
        """The present position on the tape."""
        return len(self.tape.frames)

    # ------------------------------------------------------------------------------------------------ the worker

    async def provide(self, point: Point) -> None:
        """Makes sure that the worker that a point wants is there and connected."""
        worker = self.worker
        if (
            point.fresh
            or worker is None
            or worker.exit_code is not None
            or (worker.concurrency, worker.handlers) != (point.concurrency, point.handlers)
        ):
            await self.start_worker(point.concurrency, point.handlers)

    async def start_worker(
        self, concurrency: int = 10, handlers: Sequence[str] = (), folder: Path | None = None
    ) -> Tape:
        """Starts a worker instead of the one before and waits until it was welcomed.

        Args:
            concurrency: its tasks at a time.
            handlers: that it serves; none = all.
            folder: its folder; None = a new one.

        Raises:
            Unusable: it cannot be started, or does not connect.
        """
        await self.stop_worker()
        self.proxy.begin()
        return await self.launch(concurrency, handlers, folder)

    async def launch(self, concurrency: int = 10, handlers: Sequence[str] = (), folder: Path | None = None) -> Tape:
        """As start_worker, when the one before has gone and the proxy is prepared."""
        where = folder or Path(tempfile.mkdtemp(prefix="worker-", dir=self._folder))
        self.worker = WorkerProcess(self._command, where, self.proxy.address, concurrency, handlers)
        await self.worker.start()
        deadline = time.monotonic() + CONNECT_S
        while not self.tape.sent("credit_grant"):
            if self.worker.exit_code is not None:
                raise Unusable(
                    f"{self._command[0]}: it ended with {self.worker.exit_code} before it asked for tasks; "
                    f"it must connect to STEPGRES_TARGET and serve. It printed: {self.worker.output() or 'nothing'}"
                )
            if time.monotonic() > deadline:
                raise Unusable(
                    f"{self._command[0]}: it did not ask for tasks within {CONNECT_S:g} s; it must connect to "
                    f"STEPGRES_TARGET, send Hello and grant credits. It printed: {self.worker.output() or 'nothing'}"
                )
            await self._change()
        return self.tape

    async def stop_worker(self) -> None:
        """Ends the present worker at once."""
        if self.worker is not None:
            await self.worker.kill()
            self.worker = None

    async def settle(self) -> None:
        """After a point: takes faults and runs back; a worker that does not come to rest is ended."""
        self.proxy.heal()
        for run in self._runs:
            await run.cancel()
        self._runs.clear()
        deadline = time.monotonic() + _SETTLE_S
        while self.worker is not None and not self._rests(self.worker):
            if time.monotonic() > deadline or self.worker.exit_code is not None:
                await self.stop_worker()
                return
            await self._change()

    def _rests(self, worker: WorkerProcess) -> bool:
        """Whether all slots are free and granted and no ack is missing: what is left behind would meet the next point."""
        tape = self.tape
        stream = tape.stream
        return (
            stream not in tape.ended
            and not tape.in_flight()
            and tape.claimed(stream) >= worker.concurrency
            and {result.token for frame, result in tape.results() if frame.stream == stream}
            <= {ack.token for ack in tape.acks()}
        )

    # ------------------------------------------------------------------------------------------------ runs

    async def start(self, *steps: flow_pb2.StepDefinition, input: Any = None) -> Run:
        """Starts a plan; it is cancelled after the point if it still goes on."""
        run = await runs.start(self.system, steps, {} if input is None else input)
        self._runs.append(run)
        return run

    # ------------------------------------------------------------------------------------------------ waits

    async def until(
        self,
        condition: Callable[[], Any],
        seen: str | Callable[[], str],
        *,
        within_s: float = PATIENCE_S,
        rule: str | None = None,
    ) -> None:
        """Waits until frames or files make the condition true.

        Args:
            condition: looked at whenever something has happened.
            seen: what is told when it does not come true.
            within_s: longest wait in seconds.
            rule: the rule that is broken then; None = the point's first.

        Raises:
            Broken: it did not come true.
        """
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise Broken(seen if isinstance(seen, str) else seen(), rule)
            await self._change()

    async def given(self, run: Run, count: int) -> list[bytes]:
        """Waits until so many tasks of a run are in the worker's hands; returns their tokens."""
        await self.until(
            lambda: len(self.tape.tasks(run.id)) >= count,
            lambda: (
                f"only {len(self.tape.tasks(run.id))} of {count} tasks could be handed out: the worker granted too few credits"
            ),
            rule="R2.2",
        )
        return [task.token for task in self.tape.tasks(run.id)]

    async def executing(self, run: Run, count: int) -> list[bytes]:
        """As given, and the worker has read them: a task behind them is done already."""
        tokens = await self.given(run, count)
        await self.barrier()
        return tokens

    async def quiet(self, seconds: float) -> None:
        """Lets time pass in which something must not happen."""
        await asyncio.sleep(seconds)

    async def reconnected(self, after: int, within_s: float = PATIENCE_S) -> int:
        """Waits until a stream newer than `after` was welcomed and asks for tasks; returns its number."""
        tape = self.tape
        await self.until(
            lambda: tape.stream > after,
            f"the worker did not open another stream within {within_s:g} s",
            within_s=within_s,
            rule="R7.1",
        )
        return tape.stream

    async def barrier(self) -> None:
        """Waits until the worker has read everything that was sent to it so far, as one more task shows."""
        run = await self.start(runs.step("echo"))
        await run.completed()

    async def _change(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._changed.wait()
        except TimeoutError:
            return
