"""ValidateFlow with `inline`: the word of StartRun about a plan, before anything starts, and fixes that lead to one."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, InvalidArgument, Step, Worker, apply_patch
from tests.support.flows import eventually

BROKEN: dict[str, Any] = {
    "slug": "mine",
    "queue": "own",
    "new_version": True,
    "max_attempts": 0,
    "steps": [
        {"slug": "look up", "queue": "own"},
        {"slug": "tell", "depends_on": ["look up", "tell"]},
    ],
}


async def test_what_start_run_refuses_is_said_before_and_its_fixes_make_a_plan_that_runs(
    coordinator: Coordinator,
) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        found = await client.validate_flow(BROKEN, inline=True)
        with pytest.raises(InvalidArgument) as refusal:
            await client.start_run(plan=BROKEN)

        told = {(violation.path, violation.reason) for violation in found.violations}
        assert {(f"plan.{path}", reason) for path, reason in told} == {
            (violation.field, violation.reason) for violation in refusal.value.violations
        }
        assert {path for path, _ in told} == {
            "slug", "queue", "new_version", "max_attempts", "steps[0].slug", "steps[0].queue", "steps[1].depends_on[1]",
        }  # fmt: skip
        mended = apply_patch(BROKEN, found.fix)
        assert mended == {
            "max_attempts": 1,
            "steps": [{"slug": "look_up"}, {"slug": "tell", "depends_on": ["look_up"]}],
        }
        assert (await client.validate_flow(mended, inline=True)).ok
        assert (await client.start_run(plan=mended)).created


async def test_a_plan_is_valid_without_the_slug_that_a_flow_needs(coordinator: Coordinator, conn: Any) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        for plan in ({"steps": [{"slug": "a"}]}, [Step("a")]):
            assert (await client.validate_flow(plan, inline=True)).ok
            assert [each.path for each in (await client.validate_flow(plan)).violations] == ["slug"]
    stored = await (await conn.execute("select count(*) from pgflow.workflows")).fetchone()
    assert stored == (0,)


async def test_steps_of_a_plan_are_served_by_handlers_of_their_names(
    coordinator: Coordinator, channel: grpc.aio.Channel
) -> None:
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")
    worker.step("fetch", params_schema={"type": "object", "required": ["url"]})(lambda input: None)
    serving = asyncio.create_task(worker.serve())
    plan = {"steps": [{"slug": "fetch"}, {"slug": "fetsh"}, {"slug": "other"}]}
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:

        async def told() -> list[tuple[str, str]]:
            found = await client.validate_flow(plan, inline=True)
            return [(warning.path, warning.hint) for warning in found.warnings]

        async def served() -> bool:
            return len(await told()) == 3 and "fetch" in str(await told())

        await eventually(served)
        assert await told() == [
            ("steps[0].params", "correct the params"),
            ("steps[1].handler", 'did you mean "fetch"?'),
            ("steps[2].handler", "start a worker that serves it, or name another handler"),
        ]
    worker.stop()
    await serving
