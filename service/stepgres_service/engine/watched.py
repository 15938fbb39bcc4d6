"""A run that is watched: its state at this coordinator, shared by everybody who watches it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import Enum, auto
from uuid import UUID

from stepgres_service.engine.cursors import encode_cursor
from stepgres_service.errors import StepgresError
from stepgres_service.model import Run, StepState
from stepgres_service.store.run_changes import ChangedRun


class FrameKind(Enum):
    """What a frame of a watch is."""

    SNAPSHOT = auto()
    CHANGE = auto()
    END = auto()


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class WatchFrame:
    """A frame of a watch. Readers at the same revision get the very same object, so it is converted once."""

    kind: FrameKind
    #: The run with all its steps at this time.
    run: Run
    #: Resumes after this frame.
    cursor: str
    #: The steps that changed, when it is a change.
    changed: tuple[StepState, ...] = ()


class WatchedRun:
    """The state of a run, and how its readers hear of changes.

    `latest` is what the database said last, `run` what readers may see: between the two lies the pace of the frames.
    Readers keep nothing but the revision they have seen, so a slow one costs nothing and gets merged changes.

    Args:
        run_id: the run.
        system_id: identity of the database.
    """

    def __init__(self, run_id: UUID, system_id: str) -> None:
        self.run_id = run_id
        self._system_id = system_id
        self.watchers = 0
        #: Loads the first state; shared by all who join meanwhile.
        self.loading: asyncio.Task[Run] | None = None
        #: Loads the payloads for the end; shared by all who want them.
        self.payloads: asyncio.Task[Run] | None = None
        #: The end with payloads.
        self.full_end: WatchFrame | None = None
        self.run: Run | None = None
        self.latest: Run | None = None
        #: A change came while the first state was being loaded.
        self.touched = False
        #: What it was, when its transaction has read it: all of the state, since nothing was known.
        self._early: ChangedRun | None = None
        #: Monotonic time before which no change is published.
        self.quiet_until = 0.0
        self._error: StepgresError | None = None
        self._moved = asyncio.Event()
        self._frames: dict[tuple[FrameKind, int], WatchFrame] = {}

    @property
    def live(self) -> bool:
        """True while it has a state that may still change."""
        return self.latest is not None and not self.latest.status.terminal

    @property
    def unpublished(self) -> bool:
        """True when readers have not seen the latest state yet."""
        return self.latest is not self.run

    def begin(self, run: Run) -> None:
        """Sets the first state; what only GetRun tells is taken out."""
        steps = tuple(replace(step, unserved=False) if step.unserved else step for step in run.steps)
        self.latest = replace(run, steps=steps)
        if self._early is not None:
            self.merge(self._early)
        self.run = self.latest

    def merge(self, change: ChangedRun) -> None:
        """Takes what the database says; readers see it when it is published."""
        latest = self.latest
        if latest is None:
            self._early = change
            return
        if change.revision <= latest.revision:
            return
        steps = list(latest.steps)
        for step in change.steps:
            steps[step.step_index] = replace(
                steps[step.step_index],
                status=step.status,
                counts=step.counts,
                remaining_deps=step.remaining_deps,
                revision=step.revision,
                started_at=step.started_at,
                completed_at=step.completed_at,
            )
        self.latest = replace(
            latest,
            status=change.status,
            revision=change.revision,
            remaining_steps=change.remaining_steps,
            completed_at=change.completed_at,
            error=change.error,
            steps=tuple(steps),
        )

    def publish(self, quiet_until: float) -> None:
        """Shows the latest state to the readers."""
        self.run = self.latest
        self.quiet_until = quiet_until
        self._frames.clear()
        self._wake()

    def fail(self, error: StepgresError) -> None:
        """Ends every watch with an error."""
        self._error = error
        self._wake()

    async def wait_beyond(self, revision: int) -> Run:
        """Waits until readers may see a newer revision, and returns the run.

        Raises:
            StepgresError: the watch has failed.
        """
        while True:
            if self._error is not None:
                # A new one for each reader: a traceback belongs to one raise.
                raise _copy(self._error)
            run = self.run
            if run is not None and (run.revision > revision or run.status.terminal):
                return run
            await self._moved.wait()

    def frame(self, kind: FrameKind, since: int) -> WatchFrame:
        """The frame that brings a reader from a revision to the present state."""
        found = self._frames.get((kind, since))
        if found is None:
            run = self.run
            assert run is not None, "a frame is made after the first state"
            changed = tuple(s for s in run.steps if s.revision > since) if kind is FrameKind.CHANGE else ()
            cursor = encode_cursor(self.run_id, run.revision, self._system_id)
            found = self._frames[kind, since] = WatchFrame(kind, run, cursor, changed)
        return found

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _copy(error: StepgresError) -> StepgresError:
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy
