"""Exit codes, and the one place where a failure becomes text for people on standard error.

error: steps[1].depends_on[0]: there is no step 'fetchh'; add it, or correct the name.
reason: UNKNOWN_DEPENDENCY
"""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepgres_worker import RequestError


class Exit(IntEnum):
    """What the exit code of the command tells a script."""

    #: It worked.
    OK = 0
    #: The coordinator, or the database, refused.
    REFUSED = 1
    #: The command line itself is wrong.
    USAGE = 2
    #: The run that was watched failed.
    RUN_FAILED = 3
    #: The run that was watched was cancelled.
    RUN_CANCELLED = 4
    #: Nobody answers at the address.
    UNREACHABLE = 5
    #: Ctrl-C, as shells count it: 128 + SIGINT.
    INTERRUPTED = 130


class CliError(Exception):
    """A failure of the command line's own, with the exit code it ends in.

    Args:
        message: for people: what is wrong, with the value, and what to do.
        code: exit code.
        reason: UPPER_SNAKE name of the reason; empty without one.
    """

    def __init__(self, message: str, *, code: Exit = Exit.REFUSED, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


#: Failures of the service's own classes, by name, that are no refusal.
_SERVICE_EXITS = {"SettingsError": Exit.USAGE, "Unavailable": Exit.UNREACHABLE}


def usage(message: str) -> CliError:
    """A failure that the caller of the command can mend by calling it differently."""
    return CliError(message, code=Exit.USAGE)


def unreachable(target: str, why: str) -> CliError:
    """Nobody answers at an address."""
    return CliError(
        f"no coordinator answers at {target} ({why}); start one with `stepgres dev`, or name another with --target "
        "or STEPGRES_TARGET.",
        code=Exit.UNREACHABLE,
    )


def say(text: str) -> None:
    """A line for people, on standard error. A terminal that went away is no reason to fail."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def report(error: BaseException) -> int:
    """Say what went wrong on standard error and return the exit code; a fault of ours is raised again if asked for.

    With STEPGRES_DEBUG set every error keeps its traceback.
    """
    if isinstance(error, BrokenPipeError):
        _forget_stdout()
        return Exit.OK
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else Exit.REFUSED
    if os.environ.get("STEPGRES_DEBUG"):
        raise error
    lines, code = explain(error)
    for line in lines:
        say(line)
    return code


def explain(error: BaseException) -> tuple[list[str], int]:
    """The lines and the exit code of a failure."""
    if isinstance(error, CliError):
        return [f"error: {error}", *_reason(error.reason)], error.code
    if hasattr(error, "format_message"):  # typer's own: a wrong option, a missing argument
        return _explain_usage(error)
    if _came_from(error, "stepgres_worker"):
        return _explain_sdk(error)
    if _came_from(error, "stepgres_service"):
        reason = getattr(error, "reason", "")
        lines = [f"error: {error}", *_reason("" if reason == "INTERNAL" else str(reason))]
        return lines, _SERVICE_EXITS.get(type(error).__name__, Exit.REFUSED)
    if _came_from(error, "psycopg"):
        why = _one_line(str(error)).removeprefix("connection failed: ").partition(" Is the server running")[0]
        return [
            f"error: the database cannot be used ({why}); check the address, and that PostgreSQL runs there."
        ], Exit.UNREACHABLE
    return [
        f"error: {type(error).__name__}: {_one_line(str(error))}",
        "This is a fault of stepgres; with STEPGRES_DEBUG=1 it shows the traceback.",
    ], Exit.REFUSED


def _came_from(error: BaseException, package: str) -> bool:
    # By name, since importing a package only to ask would make every failure slow.
    return any(kind.__module__.partition(".")[0] == package for kind in type(error).__mro__)


def _explain_usage(error: Any) -> tuple[list[str], int]:
    if type(error).__name__ == "NoArgsIsHelpError":  # the help stands there already
        return [], Exit.USAGE
    context = getattr(error, "ctx", None)
    lines = [f"error: {error.format_message()}"]
    if context is not None:
        lines.append(f"Try: {context.command_path} --help")
    return lines, Exit.USAGE


def _explain_sdk(error: BaseException) -> tuple[list[str], int]:
    import stepgres_worker as sdk

    if isinstance(error, sdk.RunFailed):
        return [f"error: {error}"], Exit.RUN_FAILED
    if isinstance(error, sdk.RunCancelled):
        return [f"error: {error}"], Exit.RUN_CANCELLED
    if not isinstance(error, sdk.RequestError):
        return [f"error: {error}"], Exit.REFUSED
    gone = isinstance(error, sdk.Unavailable | sdk.DeadlineExceeded)
    return _refusal(error), Exit.UNREACHABLE if gone else Exit.REFUSED


def _refusal(error: RequestError) -> list[str]:
    """Every violation on a line of its own, then what the SDK adds, then the reason."""
    lines = []
    for violation in error.violations:
        text = violation.description
        if violation.field and not text.startswith(violation.field):
            text = f"{violation.field}: {text}"
        lines.append(f"error: {text}")
    return [*(lines or [f"error: {error}"]), *getattr(error, "__notes__", ()), *_reason(error.reason)]


def _reason(reason: str) -> list[str]:
    return [f"reason: {reason}"] if reason else []


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _forget_stdout() -> None:
    # The reader of our pipe has gone (`| head`); Python would complain again when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
