"""Writes docs/errors.md, or the reasons as a Python enum or as error classes, from the comments of the contract's ErrorReason.

Usage: error_reasons.py page|enum|classes DESCRIPTOR_SET > docs/errors.md; the set is made with --include_source_info.
"""

from __future__ import annotations

import re
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

_CLASSES_HEAD = '''\
# Made from common.proto by `make gen`; do not edit.
"""A class for each reason for which a call is refused, below the class of its gRPC status.

    from stepgres_worker.errors import FlowNotFound

Each has the attributes of `RequestError`. What has a reason of a newer server is of the class of its status.
"""

from __future__ import annotations

'''
_STATUSES = {
    "INVALID_ARGUMENT": "InvalidArgument",
    "NOT_FOUND": "NotFound",
    "ALREADY_EXISTS": "AlreadyExists",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "ABORTED": "Aborted",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "UNAVAILABLE": "Unavailable",
}
#: The status after the meaning. INTERNAL and UNIMPLEMENTED have one reason each: their class is that of the status.
_STATUS = re.compile(rf"\. ({'|'.join(_STATUSES)})\b")


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


def _class_name(reason: str) -> str:
    return "".join(word.capitalize() for word in reason.split("_"))


def _classes(reasons: list[tuple[str, str]]) -> str:
    """The module of error classes, as ruff formats it."""
    found = [(name, comment, _STATUSES[status[1]]) for name, comment in reasons if (status := _STATUS.search(comment))]
    bases = "\n".join(f"    {base}," for base in sorted({base for _, _, base in found} | {"RequestError"}))
    names = sorted(_class_name(name) for name, _, _ in found)
    classes = [f"class {_class_name(name)}({base}):\n{_docstring(comment)}" for name, comment, base in found]
    table = "\n".join(f'    "{name}": {_class_name(name)},' for name, _, _ in found)
    exported = "\n".join(f'    "{name}",' for name in names)
    return "\n\n\n".join([
        f"{_CLASSES_HEAD}from ._errors import (\n{bases}\n)\n\n__all__ = [\n{exported}\n]",
        *classes,
        f"#: Reason -> class.\nBY_REASON: dict[str, type[RequestError]] = {{\n{table}\n}}",
    ]).replace("\n\n\n#: Reason", "\n\n\n#: Reason")  # fmt: skip


def _docstring(comment: str) -> str:
    meaning, _, remedy = comment.partition(" Remedy: ")
    first, _, rest = meaning.partition(". ")
    lines = [f"{first}.", "", *(part for part in (rest, f"Remedy: {remedy}") if part)]
    body = [line for part in lines for line in (textwrap.wrap(part, 113) or [""])]
    text = "\n".join(f"    {line}" if line else "" for line in body).strip().replace("\\", "\\\\")
    return f'    """{text}\n    """'


def main() -> None:
    """Prints the page, the enum or the classes."""
    form, descriptor_set = sys.argv[1:]
    reasons = _comments(descriptor_pb2.FileDescriptorSet.FromString(Path(descriptor_set).read_bytes()))
    if form == "page":
        print("\n".join([_HEAD, *(_section(*reason) for reason in reasons)]), end="")
    elif form == "classes":
        print(_classes(reasons))
    else:
        print("\n".join([_ENUM_HEAD, *(_member(*reason) for reason in reasons)]))


main()
