"""pgflow.is_valid_slug, its twin for handlers, and that Python judges as SQL does."""

from __future__ import annotations

import pytest

from stepgres_service.engine.checks import check_step, is_slug
from stepgres_service.model import StepSpec
from tests.support.sql import call_one

VALID = ["a", "A", "_", "a1", "Foo", "foo_bar", "_9", "runs", "Run", "RUN", "a" * 128]
INVALID = [
    "",
    "run",
    "1a",
    "a-b",
    "a.b",
    "a b",
    " a",
    "a ",
    "a\n",
    "a\nb",
    "ä",
    "á",
    "\N{FULLWIDTH LATIN SMALL LETTER A}",
    "a\u0301",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "a\N{ARABIC-INDIC DIGIT ONE}",
    "\N{KELVIN SIGN}",
    "\N{LATIN SMALL LETTER LONG S}",
    "a;drop table x",
    "a'b",
    'a"b',
    "$1",
    "a" * 129,
]


@pytest.mark.parametrize("slug", VALID)
async def test_a_slug_is_a_word_of_letters_digits_and_underscores(conn, slug):
    assert await call_one(conn, "is_valid_slug", slug) is True
    assert is_slug(slug)


@pytest.mark.parametrize("slug", INVALID)
async def test_anything_else_is_no_slug(conn, slug):
    assert await call_one(conn, "is_valid_slug", slug) is False
    assert not is_slug(slug)


async def test_null_is_no_slug(conn):
    assert await call_one(conn, "is_valid_slug", None) is False


async def test_the_argument_may_be_named(conn):
    assert await call_one(conn, "is_valid_slug", slug="a") is True


@pytest.mark.parametrize("handler", ["a", "_", "a.b", "a-b", "flow.step", "a.", "A_1.-", "run", "h" * 260])
async def test_a_handler_may_have_dots_and_hyphens(conn, handler):
    assert await call_one(conn, "is_valid_handler", handler) is True
    assert not list(check_step("", StepSpec("s", handler=handler)))


@pytest.mark.parametrize("handler", ["", ".a", "-a", "1", "a/b", "a b", "a\n", "ä", "h" * 261])
async def test_anything_else_is_no_handler(conn, handler):
    assert await call_one(conn, "is_valid_handler", handler) is False
    assert list(check_step("", StepSpec("s", handler=handler)))


async def test_null_is_no_handler(conn):
    assert await call_one(conn, "is_valid_handler", None) is False
