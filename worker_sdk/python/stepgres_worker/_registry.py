"""Which function answers to which handler name, and how each is called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepgres.v1 import worker_pb2

from . import _json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DESCRIPTION_BYTES = 8 * 1024


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether a handler is `(input, ctx)` rather than `(input)`.

    A second positional parameter counts when it has no default or is named `ctx` or `context`.

    Raises:
        TypeError: it can be called in neither way.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return False
    positional = [p for p in signature.parameters.values() if p.kind in _POSITIONAL]
    second = positional[1] if len(positional) > 1 else None
    wanted = second is not None and (second.default is second.empty or second.name in {"ctx", "context"})
    try:
        signature.bind(*(None, None)[: 1 + wanted])
    except TypeError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"handler {name}{signature} is not (input) or (input, ctx): {error}") from None
    return wanted


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 the method itself is looked at
    )


@dataclass(slots=True)
class Handler:
    """A function under a name."""

    #: Name that steps refer to.
    name: str
    #: What is called.
    function: Callable[..., Any]
    #: It wants a Context as its second argument.
    with_context: bool
    #: It runs on the event loop, not in a thread.
    on_loop: bool
    #: Exceptions that fail its task for good.
    non_retryable: tuple[type[BaseException], ...] = ()
    #: JSON Schema of its params; None = unknown.
    params_schema: Mapping[str, Any] | None = None
    #: Learned by the executor: it suspended the last time, so it gets an asyncio.Task of its own from the start.
    suspends: bool = False

    def message(self) -> worker_pb2.Handler:
        """How Hello tells of it."""
        text = inspect.getdoc(self.function) or ""
        return worker_pb2.Handler(
            name=self.name,
            description=text.encode()[:_DESCRIPTION_BYTES].decode(errors="ignore"),
            params_schema=_json.dumps(self.params_schema) if self.params_schema is not None else b"",
        )


class Registry(dict[str, Handler]):
    """Handlers by name."""

    def add(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        non_retryable: Iterable[type[BaseException]] = (),
        params_schema: Mapping[str, Any] | None = None,
    ) -> None:
        """Binds a function to a name.

        Args:
            name: `^[a-zA-Z_][a-zA-Z0-9_.-]*$`, up to 260 characters; the server checks it.
            function: `(input)` or `(input, ctx)`, sync or async.
            non_retryable: exceptions that fail the task for good.
            params_schema: JSON Schema of the params; None = unknown.

        Raises:
            TypeError: the function cannot be called so.
            ValueError: the name is bound to another function.
        """
        known = self.get(name)
        if known is not None and known.function is not function:
            raise ValueError(f"handler {name} is bound to {known.function!r} already")
        if not callable(function):
            raise TypeError(f"handler {name}: {function!r} cannot be called")
        self[name] = Handler(
            name, function, takes_context(function), is_async(function), tuple(non_retryable), params_schema
        )

    def subscription(self, scope: str) -> worker_pb2.Subscription:
        """How Hello subscribes to all of them."""
        return worker_pb2.Subscription(scope=scope, handlers=[handler.message() for handler in self.values()])
