from __future__ import annotations

import json

from tests.integration.cli.conftest import Cli


async def test_a_delete_answers_programs_too(cli: Cli) -> None:
    await cli("flow", "create", "f", "--step", "a")
    await cli("run", "start", "f")
    refused = await cli("flow", "delete", "f", "-o", "json")
    assert refused.code == 1
    assert "FLOW_HAS_ACTIVE_RUNS" in refused.err
    deleted = await cli("flow", "delete", "f", "--force", "-o", "json")
    assert json.loads(deleted.out) == {"flow": "f", "cancelled_run_count": 1}
