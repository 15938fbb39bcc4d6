from __future__ import annotations

import io
import sys

import pytest

from stepgres_cli.errors import CliError, Exit
from stepgres_cli.inputs import read_json, read_object


def test_nothing_is_an_empty_object():
    assert read_json(None, "INPUT") == b"{}"


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "[1, 2.50, 1e400]", "null", '"text"', "  7 ", '{"a":1,"a":2}', "😀".join('""')]
)
def test_json_passes_byte_for_byte(text):
    assert read_json(text, "INPUT") == text.encode()


def test_an_at_sign_names_a_file(tmp_path):
    file = tmp_path / "in.json"
    file.write_text('{"from": "file"}')
    assert read_json(f"@{file}", "INPUT") == b'{"from": "file"}'


def test_a_dash_reads_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1]")))
    assert read_json("-", "INPUT") == b"[1]"


@pytest.mark.parametrize("raw", [b"\xff\xfe[\x00]\x00", b"", b"{} {}", b"[" * 100_000])
def test_what_is_not_utf8_json_is_a_usage_error_that_names_its_source(raw, tmp_path):
    file = tmp_path / "in.json"
    file.write_bytes(raw)
    with pytest.raises(CliError, match=r"in\.json: not JSON") as caught:
        read_json(f"@{file}", "INPUT")
    assert caught.value.code is Exit.USAGE


def test_an_object_is_an_object():
    assert read_object('{"a": [1]}', "--params") == {"a": [1]}
    with pytest.raises(CliError, match="--params: list given"):
        read_object("[]", "--params")
