"""What CreateFlow accepts but will probably not do what was meant: handlers that nobody serves, params that do not fit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema.validators import Draft202012Validator, validator_for
from jsonschema.validators import extend as extend_validator

from stepgres_service.engine.checks import closest_step
from stepgres_service.engine.fixes import Operation
from stepgres_service.errors import Reason, Violation
from stepgres_service.model import FlowSpec, StepSpec

#: Warnings of one definition, and of one step's params.
_MAX_WARNINGS = 200
_MAX_PARAMS_WARNINGS = 10


def warnings_of(
    spec: FlowSpec, served: Mapping[str, str | None], *, inline: bool = False
) -> list[tuple[Violation, list[Operation]]]:
    """Each warning with its fix, which may be empty.

    Args:
        spec: a definition, right or wrong.
        served: handlers that are served now, each with the JSON Schema of its params or None.
        inline: it is a plan: a step's handler is by default the step's slug.
    """
    return list(itertools.islice(_warnings(spec, served, "" if inline else f"{spec.slug}."), _MAX_WARNINGS))


def _warnings(
    spec: FlowSpec, served: Mapping[str, str | None], prefix: str
) -> Iterator[tuple[Violation, list[Operation]]]:
    closest = closest_step(served)
    for index, step in enumerate(spec.steps):
        name = step.handler or f"{prefix}{step.slug}"
        if name.startswith("."):
            continue  # Its flow has no name yet, so nobody knows which handler it will be.
        if name in served:
            schema = served[name]
            if schema is not None:
                yield from ((violation, []) for violation in _params_warnings(index, step, name, schema))
            continue
        # A handler named like the step was probably meant; else the name that is most like it.
        meant = step.slug if not step.handler and step.slug in served else closest(name)
        remedy = f'did you mean "{meant}"?' if meant else "start a worker that serves it, or name another handler"
        fix: list[Operation] = [{"op": "add", "path": f"/steps/{index}/handler", "value": meant}] if meant else []
        message = f'no worker serves "{name[:260]}" now, so step "{step.slug[:128]}" would wait; {remedy}'
        yield Violation(f"steps[{index}].handler", Reason.HANDLER_UNSERVED, message), fix


def _params_warnings(index: int, step: StepSpec, handler: str, schema: str) -> Iterator[Violation]:
    rules = json.loads(schema)
    kind = validator_for(rules, default=Draft202012Validator)
    # A worker's regular expression must not hold this coordinator up.
    plain = extend_validator(kind, {"pattern": _nothing, "patternProperties": _nothing})  # type: ignore[no-untyped-call]
    for error in itertools.islice(plain(rules).iter_errors(json.loads(step.params or "{}")), _MAX_PARAMS_WARNINGS):
        path = f"steps[{index}].params" + error.json_path.removeprefix("$")
        text = error.message if len(error.message) <= 300 else f"{error.message[:300]}…"
        yield Violation(path, Reason.PARAMS_MISMATCH, f'{text}, says handler "{handler}"; correct the params')


def _nothing(*_: Any) -> Iterator[Any]:
    return iter(())
