"""Flows as people write them: `--step save:fetch,double` on the command line, or a file in the plan form.

The plan form is CreateFlowRequest as JSON with its original field names, also in YAML.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgres_cli.errors import usage

if TYPE_CHECKING:
    from stepgres_worker import Client, FlowInfo, Step


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


def apply_plan(client: Client, path: str, plan: dict[str, Any], *, new_version: bool) -> FlowInfo:
    """Makes the flow that a file describes.

    Args:
        client: of the coordinator.
        path: of the file, for messages.
        plan: what it holds.
        new_version: make a new version where the flow has another shape.

    Raises:
        CliError: it is no plan; with everything that is unknown or of the wrong type.
    """
    try:
        return client.apply_flow(plan, new_version=new_version)
    except ValueError as error:
        raise usage(f"--file: {path}: {error}") from error


def _parse(path: str) -> Any:
    import yaml

    from stepgres_cli.yaml12 import DuplicateKey, load_yaml, unique_pairs

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise usage(f"--file: {path} cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise usage(
            f"--file: {path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    try:
        # What is meant to be JSON is told its faults as JSON.
        if text.lstrip().startswith("{"):
            return json.loads(text, object_pairs_hook=unique_pairs)
        return load_yaml(text)
    except DuplicateKey as error:
        raise usage(f"--file: {path}: {error}; keep one of them.") from error
    except RecursionError as error:
        raise usage(f"--file: {path} is nested too deeply; make it flatter.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise usage(
            f"--file: {path} is neither JSON nor YAML ({' '.join(str(error).split())}); correct it there."
        ) from error
