"""Writes docs/configuration.md from the coordinator's settings. Usage: settings_page.py > docs/configuration.md"""

from __future__ import annotations

from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stepgres_service.config import Settings

_HEAD = """\
# Configuration

Made from `service/stepgres_service/config.py` by `make gen`; do not edit.

A coordinator (`stepgres serve`, `stepgres dev`) takes its settings from the environment. `NAME_FILE` instead of `NAME`
names a file that holds the value, for secrets. An empty variable counts as not set. A wrong value is refused at the
start, with exit code 2. `stepgres dev` uses a database of its own, logs warnings to the console and drains for 1 s, unless
told otherwise; unset `STEPGRES_LISTEN_DATABASE_URL` for it.

| variable | default | range | meaning |
|---|---|---|---|
"""
_TAIL = """
Of clients and workers: `STEPGRES_TARGET` is the coordinator's host:port (default `127.0.0.1:50051`).
Of the command line: with `STEPGRES_DEBUG=1` a failure shows its traceback.
"""


def _row(name: str, field: FieldInfo) -> str:
    default = (
        "required" if field.default is PydanticUndefined else "" if field.default is None else f"`{field.default}`"
    )
    return f"| `STEPGRES_{name.upper()}` | {default.replace('True', 'true')} | {_range(field)} | {field.description} |"


def _range(field: FieldInfo) -> str:
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if choices:
        return ", ".join(choices)
    bounds: dict[type, Any] = {type(rule): rule for rule in field.metadata}
    low, high = bounds.get(Ge), bounds.get(Le)
    if low is not None and high is not None:
        return f"{low.ge} to {high.le}"
    return f"{low.ge} or more" if low is not None else ""


def main() -> None:
    """Prints the page."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    print(_HEAD + "\n".join(rows) + "\n" + _TAIL, end="")


main()
