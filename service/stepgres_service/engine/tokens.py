"""The token of a lease: what fences a result. Opaque on the wire; only the engine builds and reads it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_TOKEN = struct.Struct(">16s16shii")

#: Length of a token in bytes.
TOKEN_BYTES = _TOKEN.size


class Token(NamedTuple):
    """A lease: the task, the session that holds it, and the number of its hand-out."""

    #: 16 bytes of the session's UUID.
    session_id: bytes
    #: 16 bytes of the run's UUID.
    run_id: bytes
    #: Index of the step.
    step_index: int
    #: Index of the task.
    task_index: int
    #: The task's hand-out, from 1.
    lease_seq: int


#: encode_token(session_id, run_id, step_index, task_index, lease_seq) -> token
encode_token = _TOKEN.pack


def decode_token(token: bytes) -> Token | None:
    """Reads a token; None when it is none of ours."""
    return Token._make(_TOKEN.unpack(token)) if len(token) == TOKEN_BYTES else None


def token_columns(
    tokens: Iterable[bytes],
) -> tuple[Sequence[bytes], Sequence[bytes], Sequence[int], Sequence[int], Sequence[int]]:
    """The fields of many tokens as columns (session, run, step, task, lease_seq).

    Args:
        tokens: at least one, each of TOKEN_BYTES.
    """
    return tuple(zip(*map(_TOKEN.unpack, tokens), strict=True))  # type: ignore[return-value]


def run_of(token: bytes) -> bytes:
    """The run a token belongs to, as 16 bytes."""
    return token[16:32]
