"""The kit, docs/protocol.md and docs/conformance.md speak of the same rules and points."""

from __future__ import annotations

import re

from stepgres_conformance.point import all_points
from stepgres_conformance.points.greeting import STANDARD
from tests.acceptance.processes import REPOSITORY

_PROTOCOL = (REPOSITORY / "docs" / "protocol.md").read_text()
_CONFORMANCE = (REPOSITORY / "docs" / "conformance.md").read_text()
_RULES = set(re.findall(r"^- \*\*(R\d+\.\d+)\*\*", _PROTOCOL, re.MULTILINE))


def test_every_rule_of_a_point_is_a_rule_of_the_protocol() -> None:
    assert {rule for point in all_points() for rule in point.rules} - _RULES == set()


def test_rules_that_the_code_names_exist() -> None:
    source = "".join(path.read_text() for path in (REPOSITORY / "service" / "stepgres_conformance").rglob("*.py"))
    assert set(re.findall(r"\"(R\d+\.\d+)\"", source)) - _RULES == set()


def test_the_thirteen_rules_of_the_contract_have_a_chapter_each() -> None:
    assert re.findall(r"^### R(\d+) ", _PROTOCOL, re.MULTILINE) == [str(number) for number in range(1, 14)]
    head = (REPOSITORY / "proto" / "stepgres" / "v1" / "worker.proto").read_text().partition("syntax =")[0]
    assert re.findall(r"^//  ? ?(\d+)\. ", head, re.MULTILINE) == [str(number) for number in range(1, 14)]


def test_every_point_stands_in_the_documentation_with_its_rules() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)`(?: \*)? \| (R[R0-9. ]+) \|", _CONFORMANCE, re.MULTILINE))
    assert rows == {point.id: " ".join(point.rules) for point in all_points()}


def test_every_standard_handler_stands_in_the_documentation() -> None:
    named = set(re.findall(r"^\| `?([a-z_]+)`? \| [a-z]", _CONFORMANCE, re.MULTILINE))
    assert named >= STANDARD
