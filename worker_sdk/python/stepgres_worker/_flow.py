"""Flows in code: steps as data, and functions decorated as steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from ._hints import did_you_mean, explained, name_of
from ._registry import takes_context

Function = TypeVar("Function", bound=Callable[..., Any])
#: A dependency: the slug of a step, or the function that was decorated as one.
Dependency = str | Callable[..., Any]
_TYPES = ("single", "map")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a flow, as `create_flow` takes it. None = the flow's value, then the server's default."""

    #: `^[a-zA-Z_][a-zA-Z0-9_]*$`, 1-128 characters, not `run`, unique in the flow.
    slug: str
    #: Slugs of the steps whose outputs it needs; a map has none (it maps over the run input) or one.
    depends_on: Iterable[str] = ()
    #: `single`, or `map`: one task for each element of an array.
    step_type: str = "single"
    #: Maps only: the promised number of items, from 0; None = any.
    initial_tasks: int | None = None
    #: Name of the handler that executes it; empty = `<flow>.<step>`.
    handler: str = ""
    #: Constant JSON object for its handler; None = {}.
    params: Mapping[str, Any] | None = None
    #: Failures and timeouts until a task fails for good, 1-1000.
    max_attempts: int | None = None
    #: Seconds an attempt may take, 1-2592000.
    timeout_s: int | None = None
    #: After failure n the task waits half to all of min(base_delay_s * 2^(n-1), max_delay_s) seconds; 0-86400.
    base_delay_s: int | None = None
    #: Longest delay between retries in seconds, 0-604800.
    max_delay_s: int | None = None
    #: Name of a shared queue; empty = the flow's.
    queue: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.depends_on, str):
            raise TypeError(f"step {self.slug}: depends_on is the text {self.depends_on!r}; it is a list of slugs")
        if self.step_type not in _TYPES:
            guess = did_you_mean(self.step_type, _TYPES)
            raise ValueError(f"step {self.slug}: step_type is {self.step_type!r}; it is 'single' or 'map'{guess}")
        for dependency in (found := tuple(self.depends_on)):
            if not isinstance(dependency, str):
                raise TypeError(f"step {self.slug}: depends_on holds {dependency!r}; it is a list of slugs")
        object.__setattr__(self, "depends_on", found)


class Flow:
    """A flow in code: `@flow.step` and `@flow.map` make steps of functions, which stay callable as they are.

    `Worker(flow)` registers it with CreateFlow and serves its functions; `client.execute(flow, …)` runs it in place.

    Args:
        slug: `^[a-zA-Z_][a-zA-Z0-9_]*$`, 1-128 characters, not `run`.
        max_attempts: failures and timeouts until a task of a step fails for good, 1-1000; None = 3.
        timeout_s: seconds an attempt may take, 1-2592000; None = 30.
        base_delay_s: after failure n a task waits half to all of min(base_delay_s * 2^(n-1), max_delay_s) seconds;
            0-86400; None = the server's default, 1.
        max_delay_s: longest delay between retries in seconds, 0-604800; None = the server's default, 300.
        queue: name of a shared queue; empty = one of its own.
        new_version: True makes a new version where the flow exists with another shape; False makes that an error.
    """

    def __init__(
        self,
        slug: str,
        *,
        max_attempts: int | None = None,
        timeout_s: int | None = None,
        base_delay_s: int | None = None,
        max_delay_s: int | None = None,
        queue: str = "",
        new_version: bool = False,
    ) -> None:
        self.slug = slug
        self.max_attempts = max_attempts
        self.timeout_s = timeout_s
        self.base_delay_s = base_delay_s
        self.max_delay_s = max_delay_s
        self.queue = queue
        self.new_version = new_version
        #: The steps so far, in the order of their definition.
        self.steps: list[Step] = []
        #: Functions by the slug of their step.
        self.functions: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"Flow({self.slug!r}, steps={[step.slug for step in self.steps]})"

    @overload
    def step(self, fn: Function, /) -> Function: ...
    @overload
    def step(
        self,
        fn: None = None,
        *,
        slug: str | None = None,
        depends_on: Iterable[Dependency] | Dependency = (),
        handler: str = "",
        params: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout_s: int | None = None,
        base_delay_s: int | None = None,
        max_delay_s: int | None = None,
    ) -> Callable[[Function], Function]: ...
    @explained(
        over="a step with over=STEP is a map: write @flow.map(over=STEP), or depends_on=[STEP] for one task",
        initial_tasks="it is the length of a map's array: write @flow.map(initial_tasks=…)",
        step_type="write @flow.step for one task, @flow.map for one task for each element of an array",
    )
    def step(
        self,
        fn: Function | None = None,
        *,
        slug: str | None = None,
        depends_on: Iterable[Dependency] | Dependency = (),
        handler: str = "",
        params: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout_s: int | None = None,
        base_delay_s: int | None = None,
        max_delay_s: int | None = None,
    ) -> Function | Callable[[Function], Function]:
        """Makes a function a single step. It gets `{"run": <run input>, "<dependency>": <its output>, …}`.

        Args:
            fn: the function, when used without parentheses.
            slug: name of the step; None = the function's name.
            depends_on: functions or slugs of steps of this flow whose outputs it needs.
            handler: name under which the function is served; empty = `<flow>.<step>`.
            params: constant JSON object, the handler's `ctx.params`; None = {}.
            max_attempts: failures and timeouts until the task fails for good, 1-1000; None = the flow's.
            timeout_s: seconds an attempt may take, 1-2592000; None = the flow's.
            base_delay_s: after failure n the task waits half to all of min(base_delay_s * 2^(n-1), max_delay_s)
                seconds; 0-86400; None = the flow's.
            max_delay_s: longest delay between retries in seconds, 0-604800; None = the flow's.

        Returns:
            The function itself, or a decorator that does.

        Raises:
            ValueError: the slug is taken, or a dependency is no step of this flow.
            TypeError: `fn` is no function `(input)` or `(input, ctx)`.
        """
        self._meant_as_dependency(fn, "step", "depends_on=[{0}]")

        def decorate(function: Function) -> Function:
            return self._add(
                function,
                slug=slug,
                depends_on=self._slugs(depends_on),
                step_type="single",
                handler=handler,
                params=params,
                max_attempts=max_attempts,
                timeout_s=timeout_s,
                base_delay_s=base_delay_s,
                max_delay_s=max_delay_s,
            )

        return decorate if fn is None else decorate(fn)

    @overload
    def map(self, fn: Function, /) -> Function: ...
    @overload
    def map(
        self,
        fn: None = None,
        *,
        over: Dependency | None = None,
        slug: str | None = None,
        initial_tasks: int | None = None,
        handler: str = "",
        params: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout_s: int | None = None,
        base_delay_s: int | None = None,
        max_delay_s: int | None = None,
    ) -> Callable[[Function], Function]: ...
    @explained(
        depends_on="a map takes over=STEP, the one step whose output it maps over",
        step_type="Flow.map makes a map already",
    )
    def map(
        self,
        fn: Function | None = None,
        *,
        over: Dependency | None = None,
        slug: str | None = None,
        initial_tasks: int | None = None,
        handler: str = "",
        params: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        timeout_s: int | None = None,
        base_delay_s: int | None = None,
        max_delay_s: int | None = None,
    ) -> Function | Callable[[Function], Function]:
        """Makes a function a map step: one task for each element, with `{"item": <element>, "index": <i>}`.

        Args:
            fn: the function, when used without parentheses.
            over: function or slug of the step whose output, an array, it maps over; None = the run input.
            slug: name of the step; None = the function's name.
            initial_tasks: the promised length of the array; another fails the step; None = any.
            handler: as for `step`.
            params: as for `step`.
            max_attempts: as for `step`.
            timeout_s: as for `step`.
            base_delay_s: as for `step`.
            max_delay_s: as for `step`.

        Returns:
            The function itself, or a decorator that does.

        Raises:
            ValueError: the slug is taken, or `over` is no step of this flow.
            TypeError: `over` is several steps, or `fn` is no function `(input)` or `(input, ctx)`.
        """
        self._meant_as_dependency(fn, "map", "over={0}")
        if over is not None and not isinstance(over, str) and not callable(over):
            raise TypeError(f"flow {self.slug}: over is {over!r}; it is one step, its function or its slug")

        def decorate(function: Function) -> Function:
            return self._add(
                function,
                slug=slug,
                depends_on=() if over is None else self._slugs(over),
                step_type="map",
                initial_tasks=initial_tasks,
                handler=handler,
                params=params,
                max_attempts=max_attempts,
                timeout_s=timeout_s,
                base_delay_s=base_delay_s,
                max_delay_s=max_delay_s,
            )

        return decorate if fn is None else decorate(fn)

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """Functions by the name under which they are served."""
        return {step.handler or f"{self.slug}.{step.slug}": self.functions[step.slug] for step in self.steps}

    def map_handlers(self) -> set[str]:
        """Names of the handlers that serve maps and nothing else."""
        kinds: dict[str, set[str]] = {}
        for step in self.steps:
            kinds.setdefault(step.handler or f"{self.slug}.{step.slug}", set()).add(step.step_type)
        return {handler for handler, types in kinds.items() if types == {"map"}}

    def _meant_as_dependency(self, fn: object, kind: str, remedy: str) -> None:
        """Refuses `@flow.map(fetch)`, which would make a map of fetch itself, and `@flow.map("fetch")`."""
        if isinstance(fn, str):
            raise TypeError(f"flow {self.slug}: {fn!r} is no function; write @flow.{kind}({remedy.format(repr(fn))})")
        if fn is not None and any(fn is function for function in self.functions.values()):
            name = name_of(fn)
            raise ValueError(
                f"flow {self.slug}: {name} is a step already; to depend on it write @flow.{kind}({remedy.format(name)}), "
                "to make another step of it give a slug"
            )

    def _add(self, function: Function, *, slug: str | None, **options: Any) -> Function:
        if not callable(function):
            raise TypeError(
                f"flow {self.slug}: {function!r} is no function; a step is made of one, (input) or (input, ctx)"
            )
        takes_context(function)
        name = slug or getattr(function, "__name__", "")
        if not name or name == "<lambda>":
            raise ValueError(f"flow {self.slug}: {function!r} has no name; give the step a slug")
        if name in self.functions:
            raise ValueError(f"flow {self.slug}: there is a step {name} already; give this one another slug")
        step = Step(name, **options)
        if step.handler and self.handlers().get(step.handler, function) is not function:
            raise ValueError(f"flow {self.slug}: handler {step.handler} is another function already")
        self.steps.append(step)
        self.functions[name] = function
        return function

    def _slugs(self, dependencies: Iterable[Dependency] | Dependency) -> tuple[str, ...]:
        if isinstance(dependencies, str) or callable(dependencies):
            dependencies = (dependencies,)
        return tuple(self._slug(dependency) for dependency in dependencies)

    def _slug(self, dependency: Dependency) -> str:
        if isinstance(dependency, str):
            found = [dependency] if dependency in self.functions else []
        else:
            found = [slug for slug, function in self.functions.items() if function is dependency]
        if not found:
            name = dependency if isinstance(dependency, str) else name_of(dependency)
            remedy = did_you_mean(name, self.functions) or "; define it first"
            raise ValueError(f"flow {self.slug}: dependency {name!r} is no step of it{remedy}")
        if len(found) > 1:
            raise ValueError(f"flow {self.slug}: {dependency!r} is several steps ({', '.join(found)}); name the slug")
        return found[0]
