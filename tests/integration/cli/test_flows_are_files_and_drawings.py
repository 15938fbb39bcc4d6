from __future__ import annotations

import json

import jsonschema
import pytest

from tests.integration.cli.conftest import Cli

PLAN = {
    "slug": "report",
    "steps": [
        {"slug": "join", "depends_on": ["words", "links"]},
        {"slug": "fetch", "handler": "fetch_url", "params": {"url": "http://x"}},
        {"slug": "words", "depends_on": ["fetch"]},
        {"slug": "links", "depends_on": ["fetch"], "step_type": "STEP_TYPE_MAP"},
    ],
}
DRAWN = """\
● fetch (by fetch_url)
├─╮
● │ words
│ ● links (map)
├─╯
● join
"""


async def test_apply_creates_then_leaves_alone_then_adds_a_version(cli: Cli) -> None:
    assert (await cli("flow", "apply", "-f", "-", stdin=json.dumps(PLAN))).out == "flow report v1: created\n"
    assert (await cli("flow", "apply", "-f", "-", stdin=json.dumps(PLAN))).out == "flow report v1: unchanged\n"
    changed = {**PLAN, "max_attempts": 9}
    assert (await cli("flow", "apply", "-f", "-", stdin=json.dumps(changed))).out == "flow report v2: new version\n"


@pytest.mark.parametrize("command", ["apply", "create"])
async def test_a_file_that_is_no_flow_is_told_all_its_faults(cli: Cli, command: str) -> None:
    document = {"slug": "x", "max_attempts": "many", "steps": [{"slug": "a", "step_type": "loop", "timeout": 5}]}
    said = await cli("flow", command, "-f", "-", stdin=json.dumps(document))
    assert said.code == 2
    for fault in (
        "max_attempts: is",
        "steps[0].step_type: is",
        "steps[0].timeout: is unknown; did you mean",
    ):
        assert fault in said.err


async def test_what_is_typed_counts_more_than_the_file(cli: Cli) -> None:
    made = await cli(
        "flow", "create", "mine", "-f", "-", "--max-attempts", "9", "--output", "json", stdin=json.dumps(PLAN)
    )
    assert (json.loads(made.out)["slug"], json.loads(made.out)["max_attempts"]) == ("mine", 9)
    assert len(json.loads(made.out)["steps"]) == 4


async def test_a_flow_is_drawn_from_its_file_and_from_the_server_alike(cli: Cli) -> None:
    assert (await cli("flow", "graph", "-f", "-", stdin=json.dumps(PLAN))).out == DRAWN
    await cli("flow", "apply", "-f", "-", stdin=json.dumps(PLAN))
    assert (await cli("flow", "graph", "report")).out == DRAWN
    drawn = (await cli("flow", "graph", "report", "--form", "mermaid")).out
    assert "s_links --> s_join" in drawn
    assert 's_fetch["fetch (by fetch_url)"]' in drawn


async def test_graph_wants_a_flow_or_a_file(cli: Cli) -> None:
    said = await cli("flow", "graph")
    assert said.code == 2
    assert "name a flow, or give a file" in said.err


async def test_the_schema_takes_what_apply_takes_and_refuses_the_rest(cli: Cli) -> None:
    schema = json.loads((await cli("flow", "schema")).out)
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert not list(check.iter_errors(PLAN))
    for path, wrong in (("slug", "9x"), ("slug", "run"), ("steps", [{}]), ("max_attempts", 0), ("unknown", 1)):
        assert list(check.iter_errors({**PLAN, path: wrong})), path


async def test_a_plan_written_by_the_strict_schema_is_a_flow_file(cli: Cli) -> None:
    """What a model must write under structured output: every field, null where it says nothing."""
    schema = json.loads((await cli("flow", "schema", "--strict")).out)
    step_fields = schema["properties"]["steps"]["items"]["properties"]
    plan = dict.fromkeys(schema["required"]) | {
        "slug": "strict",
        "steps": [dict.fromkeys(step_fields) | {"slug": "a"}],
    }
    assert not list(jsonschema.Draft202012Validator(schema).iter_errors(plan))
    assert (await cli("flow", "apply", "-f", "-", stdin=json.dumps(plan))).out == "flow strict v1: created\n"


async def test_an_inline_plan_has_no_slug(cli: Cli) -> None:
    schema = json.loads((await cli("flow", "schema", "--inline")).out)
    check = jsonschema.Draft202012Validator(schema)
    assert not list(check.iter_errors({"steps": [{"slug": "a"}]}))
    assert list(check.iter_errors(PLAN))
