"""Writes docs/errors.md, or the reasons as a Python enum, from the comments of the contract's ErrorReason.

Usage: error_reasons.py page|enum DESCRIPTOR_SET > docs/errors.md; the set is made with --include_source_info.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from google.protobuf import descriptor_pb2

_ENUM = "ErrorReason"
_PREFIX = "ERROR_REASON_"
_HEAD = """\
# Errors

Made from `proto/stepgres/v1/common.proto` by `make gen`; do not edit.

Every refused call has a gRPC status, a `google.rpc.ErrorInfo` whose `domain` is `stepgres` and whose `reason` is one of
these words, and for wrong requests a `google.rpc.BadRequest` with the path of each field. In Python they are
`error.reason`, which may be compared with `stepgres_worker.ErrorReason`, and `error.violations`; on the command line the
line `reason: …`. Failed tasks and runs carry one of the
words as their `code`, or the code that the handler gave. The message says what is wrong with the value shown and what to
do; the words below never change their meaning.
"""

_ENUM_HEAD = '''\
# Made from common.proto by `make gen`; do not edit.
"""Why a call was refused, or a task failed: the contract's closed list of reasons."""

from __future__ import annotations

from enum import StrEnum


class ErrorReason(StrEnum):
    """The words of ErrorReason without their prefix, as `google.rpc.ErrorInfo.reason` carries them.

    They are texts: `error.reason == ErrorReason.FLOW_NOT_FOUND`. A newer server may use words that are not listed here.
    """
'''


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
    raise SystemExit(f"{sys.argv[2]}: no enum {_ENUM}")


def _section(name: str, comment: str) -> str:
    meaning, found, remedy = comment.partition(" Remedy: ")
    if not found:
        raise SystemExit(f"{_PREFIX}{name}: the comment has no `Remedy: …`")
    return f"## {name}\n\n{meaning}\n\n**Remedy**: {remedy}\n"


def _member(name: str, comment: str) -> str:
    lines = textwrap.wrap(comment.partition(" Remedy: ")[0], 113)
    return "\n".join([*(f"    #: {line}" for line in lines), f'    {name} = "{name}"'])


def main() -> None:
    """Prints the page or the enum."""
    form, descriptor_set = sys.argv[1:]
    reasons = _comments(descriptor_pb2.FileDescriptorSet.FromString(Path(descriptor_set).read_bytes()))
    if form == "page":
        print("\n".join([_HEAD, *(_section(*reason) for reason in reasons)]), end="")
    else:
        print("\n".join([_ENUM_HEAD, *(_member(*reason) for reason in reasons)]))


main()
