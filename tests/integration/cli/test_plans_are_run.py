from __future__ import annotations

import json

import grpc

from tests.integration.cli.conftest import Cli
from tests.support.raw_worker import raw_worker

PLAN = {
    "steps": [
        {"slug": "fetch", "params": {"page": 1}},
        {"slug": "tell", "handler": "speak", "depends_on": ["fetch"]},
    ]
}


async def test_a_plan_is_run_from_a_file_and_leaves_no_flow(cli: Cli, channel: grpc.aio.Channel) -> None:
    said = await cli("run", "plan", "-f", "-", '{"n": 1}', "--key", "k", stdin=json.dumps(PLAN))
    assert said.code == 0, said.err
    run_id = said.out.strip()
    again = await cli("run", "plan", "-f", "-", '{"n": 1}', "--key", "k", "--output", "json", stdin=json.dumps(PLAN))
    assert json.loads(again.out) == {"run_id": run_id, "created": False}
    async with raw_worker(channel, ["fetch", "speak"], credits=5) as worker:
        for step in ("fetch", "tell"):
            (task,) = await worker.take_tasks(1)
            assert task.step == step
            worker.complete(task, output=b'"done"')
            await worker.take_acks(1)
    watched = await cli("run", "watch", run_id)
    assert watched.code == 0
    assert '"tell": "done"' in watched.out
    assert json.loads((await cli("flow", "list", "--output", "json")).out)["flows"] == []


async def test_what_is_wrong_with_a_plan_is_said_with_its_path(cli: Cli) -> None:
    wrong = {"steps": [{"slug": "a", "depends_on": ["b"]}, {"slug": "c", "max_attempts": 0}]}
    said = await cli("run", "plan", "-f", "-", stdin=json.dumps(wrong))
    assert said.code == 1
    assert "plan.steps[0].depends_on[0]" in said.err
    assert "plan.steps[1].max_attempts" in said.err
    said = await cli("run", "plan", "-f", "-", stdin='{"stepps": []}')
    assert said.code == 2
    assert "stepps" in said.err


async def test_faults_of_the_document_are_told_together(cli: Cli) -> None:
    said = await cli("run", "plan", "-f", "-", stdin='{"steps": [{"slug": 1, "depend_on": []}]}')
    assert said.code == 2
    assert "plan.steps[0].slug: is 1; a text is needed" in said.err
    assert "plan.steps[0].depend_on: is unknown; did you mean 'depends_on'?" in said.err


async def test_standard_input_is_the_plan_or_the_input_not_both(cli: Cli) -> None:
    said = await cli("run", "plan", "-f", "-", "-", stdin=json.dumps(PLAN))
    assert said.code == 2
    assert "standard input is the plan already" in said.err


async def test_a_plan_is_validated_as_a_plan(cli: Cli) -> None:
    text = json.dumps(PLAN)
    said = await cli("flow", "validate", "-f", "-", "--inline", stdin=text)
    assert said.code == 0
    assert 'no worker serves "fetch" now' in said.out
    said = await cli("flow", "validate", "-f", "-", stdin=text)
    assert said.code == 1
    assert "--inline" in said.err
    said = await cli("flow", "apply", "-f", "-", stdin=text)
    assert said.code == 2
    assert "stepgres run plan" in said.err


async def test_a_date_in_a_yaml_file_is_a_text(cli: Cli) -> None:
    text = "steps:\n  - slug: a\n    params: {when: 2024-01-31, at: 2024-01-31 12:00:00, count: 3, none: null}\n"
    assert (await cli("run", "plan", "-f", "-", stdin=text)).code == 0
    (run,) = json.loads((await cli("run", "list", "--output", "json")).out)["runs"]
    stored = json.loads((await cli("flow", "get", run["flow"], "--output", "json")).out)
    assert stored["steps"][0]["params"] == {"when": "2024-01-31", "at": "2024-01-31 12:00:00", "count": 3, "none": None}
    assert (await cli("flow", "apply", "-f", "-", stdin=f"slug: f\n{text}")).code == 0
