"""What the package promises."""

from __future__ import annotations

import inspect
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest

import stepgres_worker
from stepgres_worker import AsyncClient, AsyncRun, Client, Context, Flow, Run, Step, TaskError, Worker, testing

ROOT = Path(stepgres_worker.__file__).parents[1]


def parameters(function: Any) -> str:
    """Names, kinds and defaults, as in `(a, *, b=1)`."""
    signature = inspect.signature(function)
    bare = [
        parameter.replace(annotation=parameter.empty)
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    return str(inspect.Signature(bare))


def test_the_list_is_sorted_and_exact() -> None:
    names = [
        name
        for name, value in vars(stepgres_worker).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    ]
    assert stepgres_worker.__all__ == sorted([*names, "__version__"])
    expected = {"AsyncClient", "Client", "Flow", "Step", "Worker", "TaskError", "Context", "Run", "AsyncRun"}
    assert expected <= set(names)


def test_every_error_is_public() -> None:
    from stepgres_worker import _errors

    defined = {
        name
        for name, value in vars(_errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == _errors.__name__
    }
    assert defined <= set(stepgres_worker.__all__)
    drawn = (_errors.__doc__ or "").replace("├", " ").replace("└", " ").replace("─", " ").replace("│", " ").split()
    assert defined <= set(drawn)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            Worker,
            "(*flows, target=None, concurrency=100, scope='', name=None, drain_timeout_s=30.0, "
            "reconnect_grace_s=None, transport=None, clock=None)",
        ),
        (Worker.step, "(handler, *, flow=None, non_retryable=(), params_schema=None)"),
        (Worker.run, "()"),
        (Worker.serve, "()"),
        (
            Flow.step,
            "(fn=None, *, slug=None, depends_on=(), handler='', params=None, max_attempts=None, timeout_s=None, "
            "base_delay_s=None, max_delay_s=None)",
        ),
        (
            Flow.map,
            "(fn=None, *, over=None, slug=None, initial_tasks=None, handler='', params=None, max_attempts=None, "
            "timeout_s=None, base_delay_s=None, max_delay_s=None)",
        ),
        (
            Step,
            "(slug, depends_on=(), step_type='single', initial_tasks=None, handler='', params=None, "
            "max_attempts=None, timeout_s=None, base_delay_s=None, max_delay_s=None, queue='')",
        ),
        (TaskError, "(message='', *, code='HANDLER_ERROR', retryable=True, retry_after_s=None)"),
        (AsyncClient.start_run, "(flow='', input=None, *, version=0, idempotency_key=None, scope='', plan=None)"),
        (AsyncClient.execute, "(flow, input=None, step_functions=None, *, idempotency_key=None, timeout=None)"),
        (AsyncClient.delete_flow, "(flow, *, force=False)"),
        (AsyncRun.result, "(timeout=None)"),
        (Context.progress, "(fraction, message='')"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signatures(function: Any, expected: str) -> None:
    assert parameters(function) == expected


@pytest.mark.parametrize(("blocking", "source"), [(Client, AsyncClient), (Run, AsyncRun)])
def test_the_blocking_faces_offer_the_same(blocking: type, source: type) -> None:
    def methods(cls: type) -> dict[str, str]:
        return {
            name: parameters(value)
            for name, value in vars(cls).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }

    inside = {"call", "open_watch"}  # what other modules of the SDK use
    theirs = {name: text for name, text in methods(source).items() if name not in inside}
    ours = {name: text for name, text in methods(blocking).items() if name != "wait"}
    assert ours == theirs


def test_everything_public_is_documented() -> None:
    for owner in [stepgres_worker, testing]:
        for name in owner.__all__:
            value = getattr(owner, name)
            if isinstance(value, type):
                assert value.__doc__, name
                for member, content in vars(value).items():
                    if not member.startswith("_") and (inspect.isfunction(content) or isinstance(content, property)):
                        assert inspect.getdoc(content), f"{name}.{member}"


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == stepgres_worker.__version__


def test_the_package_needs_nothing_beyond_its_dependencies() -> None:
    """grpcio, protobuf and googleapis-common-protos; orjson only where it is installed."""
    import ast
    import sys

    allowed = {"grpc", "google", "stepgres", "stepgres_worker", "orjson"} | set(sys.stdlib_module_names)
    for path in (ROOT / "stepgres_worker").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            assert {name.partition(".")[0] for name in names} <= allowed, path.name
