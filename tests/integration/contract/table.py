"""What each bad value is answered with: a kind for every field, and the exceptions.

A field without a kind, a mutation without an answer and an exception that no case meets fail the test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from tests.integration.contract.mutations import INT32_MAX
from tests.integration.contract.world import World, tampered


@dataclass(frozen=True)
class Answer:
    """What a call must answer."""

    #: Name of the gRPC status.
    status: str = "OK"
    #: Name of the ErrorReason; empty when accepted.
    reason: str = ""
    #: Field at fault, a neighbour of the case's own; with a / in front it stands in the request itself. None: its own.
    at: str | None = None


@dataclass(frozen=True)
class Kind:
    """What holds for all fields of one meaning."""

    #: Mutation -> answer; `values` and what the descriptor gives together.
    answers: dict[str, Answer]
    #: Further mutations -> value, or what makes the value of the world.
    values: dict[str, Any] = field(default_factory=dict)

    def but(self, **answers: Answer) -> Kind:
        """The same with other answers; `_` in a name stands for a space."""
        changed = {name.replace("_", " "): answer for name, answer in answers.items()}
        return replace(self, answers=self.answers | changed)


OK = Answer()


def invalid(reason: str, at: str | None = None) -> Answer:
    return Answer("INVALID_ARGUMENT", reason, at)


def not_found(reason: str, at: str | None = None) -> Answer:
    return Answer("NOT_FOUND", reason, at)


REQUIRED, RANGE = invalid("FIELD_REQUIRED"), invalid("FIELD_OUT_OF_RANGE")
LONG, INVALID, NUL = invalid("FIELD_TOO_LONG"), invalid("FIELD_INVALID"), invalid("NUL_CHARACTER")
SLUG, JSON = invalid("INVALID_SLUG"), invalid("INVALID_JSON")

#: What no server can read: the same for every field of every message.
UNREADABLE = {
    "not UTF-8": invalid("INVALID_UTF8"),
    "not UTF-8 in a value": invalid("INVALID_UTF8"),
    "not UTF-8 in a key": invalid("INVALID_UTF8"),
    "nested 60 levels": INVALID,
}


def text(missing: Answer, bad: Answer, *, longest: int = 0, nul: Answer = NUL, other: Answer | None = None) -> Kind:
    """A text.

    Args:
        missing: answer to none, or to an empty one.
        bad: answer to one that is too long.
        longest: characters that are allowed.
        nul: answer to U+0000.
        other: answer to text outside ASCII; that of `bad` by default.
    """
    answers = {f"{length} characters": OK if length <= longest else bad for length in (129, 300, 9000)}
    return Kind(
        answers | {"missing": missing, "empty": missing, "U+0000": nul, "not ASCII": bad if other is None else other}
    )


def number(lowest: int, highest: int, *, missing: Answer = OK, beyond: Answer = RANGE) -> Kind:
    """A number; its bounds and what lies behind them are tried too."""
    values = {"lowest": lowest, "highest": highest}
    if highest < INT32_MAX:
        values["above"] = highest + 1
    answers = {name: beyond for name in ("above", "greatest") if highest < INT32_MAX} or {"greatest": OK}
    answers |= {"lowest": OK, "highest": OK, "-1": RANGE, "least": RANGE, "missing": missing}
    return Kind(answers | {"0": OK if lowest <= 0 else RANGE}, values)


def enum(*known: str) -> Kind:
    """An enum."""
    return Kind({"missing": OK, "99": INVALID, "negative": INVALID} | dict.fromkeys(known, OK))


def more(kind: Kind, **values: tuple[Any, Answer]) -> Kind:
    """A kind with further values; `_` in a name stands for a space."""
    named = {name.replace("_", " "): pair for name, pair in values.items()}
    return Kind(
        kind.answers | {name: answer for name, (_, answer) in named.items()},
        kind.values | {name: value for name, (value, _) in named.items()},
    )


_SLUGS: dict[str, tuple[Any, Answer]] = {
    "a_dash": ("a-b", SLUG),
    "a_digit_first": ("1a", SLUG),
    "the_reserved_run": ("run", SLUG),
    "a_line_end": ("a\n", SLUG),
    "128_characters": ("y" * 128, OK),
}
NEW_SLUG = more(text(REQUIRED, SLUG), **_SLUGS)
OPTIONAL_SLUG = more(text(OK, SLUG), **_SLUGS)


def reference(unknown: Answer, *, required: bool = True) -> Kind:
    """The slug of something that must exist."""
    kind = NEW_SLUG if required else OPTIONAL_SLUG
    kind = kind.but(**{"128_characters": unknown, "U+0000": SLUG})
    return more(kind, unknown=("nowhere", unknown), other_case=("WIDE", unknown))


FLOW = reference(not_found("FLOW_NOT_FOUND"))
STEP = reference(not_found("STEP_NOT_FOUND"))
RUN_ID = more(
    text(REQUIRED, INVALID, nul=INVALID),
    no_uuid=("42", INVALID),
    in_braces=(lambda world: f"{{{world.run_id}}}", INVALID),
    without_dashes=(lambda world: world.run_id.replace("-", ""), INVALID),
    with_a_space=(lambda world: f"{world.run_id} ", INVALID),
    in_capitals=(lambda world: world.run_id.upper(), OK),
    unknown=(lambda _: str(uuid4()), not_found("RUN_NOT_FOUND")),
    nil=("00000000-0000-0000-0000-000000000000", not_found("RUN_NOT_FOUND")),
    of_another_flow=(lambda world: world.other_run_id, OK),
)
VERSION = number(0, 1, beyond=not_found("FLOW_VERSION_NOT_FOUND"))
PAGE_SIZE = number(0, INT32_MAX)
VIEW = enum("VIEW_UNSPECIFIED", "VIEW_BASIC", "VIEW_FULL")
BOOL = Kind({"missing": OK, "false": OK, "true": OK})
TIME = Kind(
    {"missing": OK, "empty": OK, "year 1": OK, "year 9999": OK}
    | dict.fromkeys(["before year 1", "year 10000", "least seconds", "greatest seconds"], INVALID)
    | dict.fromkeys(["negative nanos", "a second of nanos", "greatest nanos"], INVALID)
)
PARAMS = Kind(
    dict.fromkeys(["NaN", "infinity", "negative infinity in a list"], JSON)
    | dict.fromkeys(["missing", "empty", "nested 20 levels", "greatest double", "an empty key"], OK)
    | {"a value of no kind": OK}  # protobuf's own JSON of it is null
    | {"U+0000 in a value": NUL, "U+0000 in a key": NUL}
    | {"more than 64 KiB": invalid("PAYLOAD_TOO_LARGE")}
)
INPUT = more(
    Kind({"missing": OK, "empty": OK, "random": invalid("INVALID_UTF8"), "9000 bytes": JSON}),
    not_JSON=(b"nope", JSON),
    cut_JSON=(b'{"a": [1, 2', JSON),
    two_values=(b"{} {}", JSON),
    a_comment=(b"/* x */ 1", JSON),
    a_byte_order_mark=(b"\xef\xbb\xbf{}", JSON),
    NaN=(b"[NaN]", JSON),
    blanks=(b"  ", JSON),
    a_raw_U_0000=(b'"\0"', NUL),
    an_escaped_U_0000=(rb'{"a": "\u0000"}', NUL),
    an_escaped_U_0000_in_a_key=(rb'{"\u0000": 1}', NUL),
    a_lone_surrogate=(rb'"\ud800"', OK),
    half_an_escape=(rb'"\ud8"', JSON),
    latin_1=('"é"'.encode("latin-1"), invalid("INVALID_UTF8")),
    utf_16=('"a"'.encode("utf-16"), invalid("INVALID_UTF8")),
    an_encoded_surrogate=(b'"\xed\xa0\x80"', invalid("INVALID_UTF8")),
    an_overlong_slash=(b'"\xc0\xaf"', invalid("INVALID_UTF8")),
    largest=(b'"' + b"x" * ((1 << 20) - 2) + b'"', OK),
    too_large=(b'"' + b"x" * ((1 << 20) - 1) + b'"', invalid("PAYLOAD_TOO_LARGE")),
)


def page_token(rpc: str, other: str) -> Kind:
    """The page token of one list, tried with one of another."""
    wrong = invalid("INVALID_PAGE_TOKEN")

    def made(change: Callable[[str], str]) -> Callable[[World], str]:
        return lambda world: change(world.page_tokens[rpc])

    return more(
        text(OK, wrong, nul=wrong),
        its_own=(made(str), OK),
        of_another_list=(lambda world: world.page_tokens[other], wrong),
        cut_off=(made(lambda token: token[:-3]), wrong),
        with_a_position_of_text=(
            made(lambda t: tampered(t, lambda parts: [parts[0], *["x"] * (len(parts) - 1)])),
            wrong,
        ),
        with_a_position_of_U_0000=(
            made(lambda t: tampered(t, lambda parts: [parts[0], *["\0"] * (len(parts) - 1)])),
            wrong,
        ),
        with_a_position_cut_off=(made(lambda t: tampered(t, lambda parts: parts[:-1])), wrong),
        with_a_position_of_lists=(made(lambda t: tampered(t, lambda parts: [parts[0], [], {}])), wrong),
        of_no_parts=(made(lambda t: tampered(t, lambda _: [])), wrong),
        turned_round=(made(lambda token: token[::-1]), wrong),
    )
