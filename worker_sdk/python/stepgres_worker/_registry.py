"""Which function answers to which handler name, and how each is called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepgres.v1 import worker_pb2

from . import _json, _schemas

if TYPE_CHECKING:
    from collections.abc import Iterable

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
#: Limits of the contract.
_DESCRIPTION_CHARACTERS = 8192
_SCHEMA_BYTES = 64 << 10


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
    #: JSON Schema of its params, or a class that tells it; None = unknown.
    params_schema: Mapping[str, Any] | type | None = None
    #: It serves steps that map: its input has an item and an index.
    is_map: bool = False
    #: Learned by the executor: it suspended the last time, so it gets an asyncio.Task of its own from the start.
    suspends: bool = False

    def message(self) -> worker_pb2.Handler:
        """How Hello tells of it: the docstring's first paragraph, and schemas from the type hints.

        Hints are read here, not at import: by now every class that they name exists.

        Raises:
            ValueError: more than the contract allows, or no JSON.
        """
        taken, given = _schemas.schemas_of(self.function, is_map=self.is_map)
        params = self.params_schema
        description = _first_paragraph(self.function)
        if len(description) > _DESCRIPTION_CHARACTERS:
            raise ValueError(
                f"handler {self.name}: the first paragraph of its docstring has {len(description)} characters, at most "
                f"{_DESCRIPTION_CHARACTERS} are allowed; put an empty line after its summary"
            )
        return worker_pb2.Handler(
            name=self.name,
            description=description.replace("\x00", "\ufffd"),
            params_schema=self._encoded("params", _schemas.schema_of(params) if isinstance(params, type) else params),
            input_schema=self._encoded("input", taken),
            output_schema=self._encoded("output", given),
        )

    def _encoded(self, what: str, schema: Mapping[str, Any] | None) -> bytes:
        if schema is None:
            return b""
        try:
            data = _json.dumps(schema)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"handler {self.name}: its {what} schema is not JSON ({error}); correct it") from error
        if len(data) > _SCHEMA_BYTES:
            raise ValueError(
                f"handler {self.name}: its {what} schema has {len(data)} bytes, at most {_SCHEMA_BYTES} are allowed; "
                "describe less of it"
            )
        return data


def _first_paragraph(function: Callable[..., Any]) -> str:
    """Of the function's docstring, its lines joined."""
    while isinstance(function, functools.partial):  # whose own docstring is about partials
        function = function.func
    paragraph = (inspect.getdoc(function) or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.split())


class Registry(dict[str, Handler]):
    """Handlers by name."""

    def add(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        non_retryable: Iterable[type[BaseException]] = (),
        params_schema: Mapping[str, Any] | type | None = None,
        is_map: bool = False,
    ) -> None:
        """Binds a function to a name.

        Args:
            name: `^[a-zA-Z_][a-zA-Z0-9_.-]*$`, up to 260 characters; the server checks it.
            function: `(input)` or `(input, ctx)`, sync or async.
            non_retryable: exceptions that fail the task for good.
            params_schema: JSON Schema of the params, or a TypedDict, dataclass or pydantic model; None = unknown.
            is_map: it serves steps that map.

        Raises:
            TypeError: the function cannot be called so, or `params_schema` tells no schema.
            ValueError: the name is bound to another function.
        """
        if not callable(function):
            raise TypeError(f"handler {name}: {function!r} is no function; a handler is one, (input) or (input, ctx)")
        known = self.get(name)
        if known is not None and known.function is not function:
            raise ValueError(f"handler {name} is bound to {known.function!r} already; give this one another name")
        if params_schema is not None and not isinstance(params_schema, Mapping | type):
            raise TypeError(f"handler {name}: params_schema is {params_schema!r}; it is a JSON Schema or a class")
        if isinstance(params_schema, type) and _schemas.schema_of(params_schema) is None:
            raise TypeError(
                f"handler {name}: params_schema is {params_schema!r}, which tells no schema; use a TypedDict, a "
                "dataclass, a pydantic model, or a JSON Schema"
            )
        self[name] = Handler(
            name, function, takes_context(function), is_async(function), tuple(non_retryable), params_schema, is_map
        )

    def subscription(self, scope: str) -> worker_pb2.Subscription:
        """How Hello subscribes to all of them."""
        return worker_pb2.Subscription(scope=scope, handlers=[handler.message() for handler in self.values()])
