from __future__ import annotations

import asyncio
import json
from typing import Any

from stepgres_service.server import Coordinator
from stepgres_worker import Worker
from tests.integration.cli.conftest import Cli

WRONG = {"slug": "ai", "max_attempts": 0, "steps": [{"slug": "fetch"}, {"slug": "tell", "depends_on": ["fetchh"]}]}


async def test_everything_that_is_wrong_is_said_and_mended(cli: Cli) -> None:
    said = await cli("flow", "validate", "-f", "-", stdin=json.dumps(WRONG))
    assert said.code == 1
    assert (
        'error: steps[1].depends_on[0]: step "tell" depends on "fetchh", which flow "ai" does not have; did you mean "fetch"? [fix]'
        in said.out
    )
    assert "error: max_attempts: 0 is out of range; use 1 to 1000 [fix]" in said.out
    assert "2 errors, of which --fix mends 2" in said.out
    mended = await cli("flow", "validate", "-f", "-", "--fix", stdin=json.dumps(WRONG))
    plan = json.loads(mended.out)
    assert plan["steps"][1]["depends_on"] == ["fetch"]
    again = await cli("flow", "validate", "-f", "-", stdin=json.dumps(plan))
    assert again.code == 0
    assert 'warning: steps[0].handler: no worker serves "ai.fetch" now' in again.out


async def test_fix_leaves_the_handler_alone_that_nobody_serves_yet(cli: Cli, coordinator: Coordinator) -> None:
    plan = {"slug": "ai", "steps": [{"slug": "tell", "handler": "send_mai"}]}
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")

    @worker.step("send_mail")
    async def send_mail(input: Any) -> None: ...

    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    said = await cli("flow", "validate", "-f", "-", "--fix", stdin=json.dumps(plan))
    worker.stop()
    await serving
    assert json.loads(said.out) == plan
    assert said.err.splitlines() == [
        'warning: steps[0].handler: no worker serves "send_mai" now, so step "tell" would wait; did you mean "send_mail"?',
        "-: valid, 1 warning",
    ]


async def test_programs_get_one_document_also_with_fix(cli: Cli) -> None:
    said = await cli("flow", "validate", "-f", "-", "--fix", "-o", "json", stdin=json.dumps(WRONG))
    answer = json.loads(said.out)
    assert said.code == 1
    assert len(answer["violations"]) == 2
    assert answer["fixed"]["steps"][1]["depends_on"] == ["fetch"]


async def test_a_file_that_holds_no_object_is_a_usage_error(cli: Cli) -> None:
    said = await cli("flow", "validate", "-f", "-", stdin="[]")
    assert said.code == 2
    assert "holds a list" in said.err


async def test_faults_of_form_are_told_and_mended_with_the_others(cli: Cli) -> None:
    plan = {"slug": 5, "steps": [{"slag": "x", "timeout_s": "1m"}, {"slug": "y", "depends_on": "z", "zzz": 1}]}
    said = await cli("flow", "validate", "-f", "-", stdin=json.dumps(plan))
    assert said.code == 1
    assert "error: slug: is 5; a text is needed [fix]" in said.out
    assert "error: steps[0].slag: is unknown; did you mean 'slug'? [fix]" in said.out
    assert 'steps[1].depends_on[0]: step "y" depends on "z", which flow "5" does not have' in said.out
    assert "error: steps[1].zzz: is unknown; the fields are slug," in said.out
    mended = await cli("flow", "validate", "-f", "-", "--fix", stdin=json.dumps(plan))
    assert json.loads(mended.out) == {
        "slug": "_5",
        "steps": [{"slug": "x", "timeout_s": 60}, {"slug": "y", "depends_on": ["z"], "zzz": 1}],
    }
