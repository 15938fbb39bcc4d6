"""Writes docs/errors.md from the comments of the contract's ErrorReason.

Usage: error_reasons.py DESCRIPTOR_SET > docs/errors.md; the set is made with --include_source_info.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

_ENUM = "ErrorReason"
_PREFIX = "ERROR_REASON_"
_HEAD = """\
# Errors

Made from `proto/stepgres/v1/common.proto` by `make gen`; do not edit.

Every refused call has a gRPC status, a `google.rpc.ErrorInfo` whose `domain` is `stepgres` and whose `reason` is one of
these words, and for wrong requests a `google.rpc.BadRequest` with the path of each field. In Python they are
`error.reason` and `error.violations`, on the command line the line `reason: …`. Failed tasks and runs carry one of the
words as their `code`, or the code that the handler gave. The message says what is wrong with the value shown and what to
do; the words below never change their meaning.
"""


def _comments(files: descriptor_pb2.FileDescriptorSet) -> list[tuple[str, str]]:
    """(name without prefix, comment on one line) of each value."""
    for file in files.file:
        for number, enum in enumerate(file.enum_type):
            if file.package != "stepgres.v1" or enum.name != _ENUM:
                continue
            found = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
            return [
                (value.name.removeprefix(_PREFIX), " ".join(found[(5, number, 2, position)].split()))
                for position, value in enumerate(enum.value)
                if value.number
            ]
    raise SystemExit(f"{sys.argv[1]}: no enum {_ENUM}")


def _section(name: str, comment: str) -> str:
    meaning, found, remedy = comment.partition(" Remedy: ")
    if not found:
        raise SystemExit(f"{_PREFIX}{name}: the comment has no `Remedy: …`")
    return f"## {name}\n\n{meaning}\n\n**Remedy**: {remedy}\n"


def main() -> None:
    """Prints the page."""
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes())
    print("\n".join([_HEAD, *(_section(*value) for value in _comments(files))]), end="")


main()
