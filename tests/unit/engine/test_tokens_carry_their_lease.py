"""Tokens are read back as they were made; what is no token is told from one."""

from __future__ import annotations

import os

from stepgres_service.engine.tokens import TOKEN_BYTES, Token, decode_token, encode_token, run_of, token_columns


def test_a_token_is_read_back() -> None:
    session, run = os.urandom(16), os.urandom(16)
    token = encode_token(session, run, 1999, 999_999, 7)
    assert len(token) == TOKEN_BYTES
    assert decode_token(token) == Token(session, run, 1999, 999_999, 7)
    assert run_of(token) == run


def test_many_tokens_become_columns() -> None:
    leases = [(os.urandom(16), os.urandom(16), n, n * 2, n + 1) for n in range(5)]
    assert token_columns(encode_token(*lease) for lease in leases) == tuple(zip(*leases, strict=True))


def test_another_length_is_no_token() -> None:
    assert decode_token(b"") is None
    assert decode_token(os.urandom(TOKEN_BYTES + 1)) is None
