"""What the transitions should do, small enough to be seen to be right: a run in memory, one transition at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Failures that a task survives, and leases that it may lose.
MAX_ATTEMPTS, MAX_LOST_LEASES = 3, 5


@dataclass(frozen=True)
class StepDef:
    """A step of a flow."""

    slug: str
    #: Indexes of the steps that it waits for; a map has one or none.
    depends_on: tuple[int, ...]
    is_map: bool


@dataclass
class Task:
    """A task of a started step."""

    status: str = "queued"
    failures: int = 0
    lost: int = 0
    #: Number of the last hand-out.
    lease_seq: int = 0
    #: Number of elements of its output, when completed.
    size: int = 0


@dataclass
class Step:
    """A step of a run."""

    status: str = "created"
    tasks: list[Task] = field(default_factory=list)


class Run:
    """A run.

    Args:
        steps: of its flow; each output is an array.
        size: number of elements of its input.
    """

    def __init__(self, steps: tuple[StepDef, ...], size: int) -> None:
        self.defs = steps
        self.size = size
        self.status = "started"
        self.steps = [Step() for _ in steps]
        self._advance()

    def task(self, step: int, index: int) -> Task:
        """A task by its place."""
        return self.steps[step].tasks[index]

    def lease(self, step: int, index: int) -> int:
        """Hands a task out; returns the number of the hand-out."""
        task = self.task(step, index)
        assert (self.status, task.status) == ("started", "queued")
        task.status = "started"
        task.lease_seq += 1
        return task.lease_seq

    def holds(self, step: int, index: int, lease_seq: int) -> bool:
        """Whether a lease is in force."""
        tasks = self.steps[step].tasks
        return index < len(tasks) and (tasks[index].status, tasks[index].lease_seq) == ("started", lease_seq)

    def complete(self, step: int, index: int, size: int) -> None:
        """A result with an array of so many elements."""
        task = self.task(step, index)
        task.status, task.size = "completed", size
        self._advance()

    def fail(self, step: int, index: int, *, final: bool) -> None:
        """A failure; the run fails with the last one."""
        task = self.task(step, index)
        task.failures += 1
        if final or task.failures == MAX_ATTEMPTS:
            self._fail(step, task)
        else:
            task.status = "queued"

    def give_back(self, step: int, index: int, *, lost: bool) -> None:
        """A lease that ended without a result."""
        task = self.task(step, index)
        task.lost += lost
        if task.lost > MAX_LOST_LEASES:
            self._fail(step, task)
        else:
            task.status = "queued"

    def cancel(self) -> None:
        """Ends the run."""
        if self.status == "started":
            self._end("cancelled")

    def retry(self) -> str:
        """Lets it go on; returns the verdict."""
        if self.status not in ("failed", "cancelled"):
            return self.status
        self.status = "started"
        for step in self.steps:
            if step.status != "completed":
                step.status = "started" if step.tasks else "created"
                for task in step.tasks:
                    if task.status != "completed":
                        task.status, task.failures, task.lost = "queued", 0, 0
        self._advance()
        return "retried"

    def _advance(self) -> None:
        """Starts what is ready and completes what is done, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for definition, step in zip(self.defs, self.steps, strict=True):
                if step.status == "created" and all(self.steps[d].status == "completed" for d in definition.depends_on):
                    step.status = "started"
                    step.tasks = [Task() for _ in range(self._tasks_of(definition))]
                    changed = True
                if step.status == "started" and all(task.status == "completed" for task in step.tasks):
                    step.status = "completed"
                    changed = True
        if all(step.status == "completed" for step in self.steps):
            self.status = "completed"

    def _tasks_of(self, definition: StepDef) -> int:
        if not definition.is_map:
            return 1
        if not definition.depends_on:
            return self.size
        (before,) = definition.depends_on
        # A map's output is the array of its tasks' outputs.
        tasks = self.steps[before].tasks
        return len(tasks) if self.defs[before].is_map else tasks[0].size

    def _fail(self, step: int, task: Task) -> None:
        task.status = "failed"
        self.steps[step].status = "failed"
        self._end("failed")

    def _end(self, status: str) -> None:
        self.status = status
        for step in self.steps:
            if step.status in ("created", "started"):
                step.status = "cancelled"
            for task in step.tasks:
                if task.status in ("queued", "started"):
                    task.status = "cancelled"
