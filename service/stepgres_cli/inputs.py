"""What people type as JSON: a value, `@file`, or `-` for standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stepgres_cli.errors import usage


def read_json(text: str | None, name: str) -> bytes:
    """The bytes of a JSON value, checked but otherwise as they were written.

    Args:
        text: JSON, `@path`, or `-`; None means {}.
        name: what the message calls it, such as `INPUT`.

    Raises:
        CliError: it is not there, not UTF-8 or not JSON.
    """
    if text is None:
        return b"{}"
    raw, where = _read(text, name)
    try:
        json.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        hint = "" if where != name else " Texts need their own quotes: '\"like this\"'."
        raise usage(f"{where}: not JSON ({error}); give a JSON value, @FILE, or - for standard input.{hint}") from error
    return raw


def read_object(text: str, name: str) -> dict[str, Any]:
    """A JSON object; forms and errors as `read_json`."""
    value = json.loads(read_json(text, name))
    if not isinstance(value, dict):
        raise usage(f'{name}: {type(value).__name__} given; a JSON object such as \'{{"url": "…"}}\' is needed.')
    return value


def _read(text: str, name: str) -> tuple[bytes, str]:
    """The bytes, and what a message calls their source."""
    if text == "-":
        return sys.stdin.buffer.read(), "standard input"
    if not text.startswith("@"):
        return text.encode(), name
    if text == "@":
        raise usage(f"{name}: @ alone names no file; write @FILE.")
    path = Path(text[1:])
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise usage(f"{name}: {path} cannot be read ({error.strerror}); check the path after @.") from error
