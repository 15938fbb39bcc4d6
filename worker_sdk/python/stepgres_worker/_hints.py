"""What a mistake was probably meant to be: remedies instead of Python's bare complaints."""

from __future__ import annotations

import difflib
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Function = TypeVar("Function", bound="Callable[..., Any]")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean 'fetch'?` for a name that resembles a known one, else empty."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6) or [
        other for other in names if other.lower() == str(name).lower()
    ]
    return f"; did you mean {close[0]!r}?" if close else ""


def name_of(function: object) -> str:
    """The name of a function for people, its repr where it has none."""
    return getattr(function, "__qualname__", "") or repr(function)


def explained(**remedies: str) -> Callable[[Function], Function]:
    """Decorates a function: an argument that it does not take is refused with what to do about it.

    Args:
        remedies: by argument; others are answered with the name that resembles them most, or all of them.
    """

    def decorate(function: Function) -> Function:
        taken = [name for name in inspect.signature(function).parameters if name not in {"self", "fn"}]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for name in kwargs:
                if name not in taken:
                    what = f"{function.__qualname__} takes no {name}"
                    guess = did_you_mean(name, taken) or f"; it takes {', '.join(taken)}"
                    raise TypeError(f"{what}: {remedies[name]}" if name in remedies else what + guess)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate
