"""Flows as people write them: `--step save:fetch,double` on the command line, or a file in the plan form.

The plan form is CreateFlowRequest as JSON with its original field names, also in YAML.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgres_cli.errors import CliError, usage

if TYPE_CHECKING:
    from stepgres_worker import Step

_FLOW_FIELDS = {
    "slug", "steps", "max_attempts", "timeout_s", "base_delay_s", "max_delay_s", "queue", "new_version",
}  # fmt: skip
#: Names of the contract's enum, and the short ones that SQL and SDK use.
_STEP_TYPES = {"STEP_TYPE_SINGLE": "single", "STEP_TYPE_MAP": "map", "single": "single", "map": "map"}


def parse_step(text: str, step_type: str) -> Step:
    """`SLUG` or `SLUG:DEP,DEP` as a step.

    Raises:
        CliError: a part of it is empty.
    """
    from stepgres_worker import Step

    slug, colon, rest = text.partition(":")
    depends_on = [part.strip() for part in rest.split(",")] if colon else []
    if not slug.strip() or not all(depends_on):
        raise usage(
            f"--{'map' if step_type == 'map' else 'step'}: {text!r} has an empty name; write SLUG or SLUG:DEP,DEP."
        )
    return Step(slug.strip(), depends_on=depends_on, step_type=step_type)


def read_flow_file(path: str) -> dict[str, Any]:
    """A flow file as keyword arguments of `create_flow`, `steps` being a list of Step.

    Args:
        path: a .json, .yaml or .yml file, or `-` for standard input.

    Raises:
        CliError: it cannot be read, or a field is unknown or of the wrong kind; the message begins with its path.
    """
    document = _parse(path)
    _check_object(document, _FLOW_FIELDS, "")
    # null means "not given", as the strict schema has models write it.
    document = {name: value for name, value in document.items() if value is not None}
    steps = document.get("steps") or []
    if not isinstance(steps, list):
        raise usage("steps: a list of steps is needed.")
    return {**document, "steps": [_step(step, f"steps[{index}]") for index, step in enumerate(steps)]}


def read_plan(path: str) -> dict[str, Any]:
    """A flow file as the document that it is; whether its fields make sense is for the coordinator to say.

    Args:
        path: a .json, .yaml or .yml file, or `-` for standard input.

    Raises:
        CliError: it cannot be read, or holds something else than an object.
    """
    document = _parse(path)
    if not isinstance(document, dict):
        raise usage(f"--file: {path} holds a {type(document).__name__}; an object with slug and steps is needed.")
    return document


def _parse(path: str) -> Any:
    import yaml

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise usage(f"--file: {path} cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise usage(
            f"--file: {path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    try:
        # JSON first: YAML 1.1 reads most of it, but takes 1e3 for a text.
        return json.loads(text) if text.lstrip().startswith("{") else _load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise usage(
            f"--file: {path} is neither JSON nor YAML ({' '.join(str(error).split())}); correct it there."
        ) from error


def _load_yaml(text: str) -> Any:
    """YAML as JSON has it: what looks like a date is a text, as it is written."""
    import yaml

    loader = yaml.SafeLoader(text)
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _step(value: Any, path: str) -> Step:
    from stepgres_worker import Step

    known = {field.name for field in fields(Step)}
    _check_object(value, known, path)
    value = {name: item for name, item in value.items() if item is not None}
    if "slug" not in value:
        raise usage(f"{path}.slug: missing; give the step a name.")
    step_type = value.get("step_type", "single")
    if step_type not in _STEP_TYPES:
        raise usage(f"{path}.step_type: {step_type!r} is unknown; it is STEP_TYPE_SINGLE or STEP_TYPE_MAP.")
    try:
        return Step(**{**value, "step_type": _STEP_TYPES[step_type]})
    except TypeError as error:
        raise CliError(f"{path}: {error}") from error


def _check_object(value: Any, known: set[str], path: str) -> None:
    if not isinstance(value, dict):
        raise usage(f"{path or 'the flow file'}: an object is needed, not {type(value).__name__}.")
    for name in value:
        if name not in known:
            where = f"{path}.{name}" if path else str(name)
            raise usage(f"{where}: unknown field; the fields are {', '.join(sorted(known))}.")
