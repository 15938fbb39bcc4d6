from __future__ import annotations

import json

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


async def test_a_file_that_is_no_plan_is_a_usage_error(cli: Cli) -> None:
    for text, says in (("[]", "holds a list"), ('{"slug": 5}', "slug"), ('{"steps": [{"slag": "x"}]}', "slag")):
        said = await cli("flow", "validate", "-f", "-", stdin=text)
        assert said.code == 2, text
        assert says in said.err
