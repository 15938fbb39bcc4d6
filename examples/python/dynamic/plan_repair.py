"""A plan as a model would emit it, wrong in five ways at once, repaired from what the coordinator answers, then run.

    python plan_repair.py

The program holds no second plan: whatever it knows about the right one comes from the violations and their fixes.
"""

from __future__ import annotations

import asyncio
import json

from stepgres_worker import AsyncClient, Context, Validation, Worker, apply_patch

PLAN = {
    "slug": "trip planner",  # no slug
    "max_attempts": 0,  # out of range
    "steps": [
        {"slug": "weather", "handler": "lookup", "params": {"what": "weather"}},
        {"slug": "hotels", "handler": "lookup", "params": {"what": "hotels"}, "initial_tasks": 1},  # no map
        {"slug": "compare", "handler": "compare", "depends_on": ["wether", "hotels"]},  # misspelt
        {"slug": "book", "handler": "compare", "depends_on": ["compare", "book"]},  # depends on itself
    ],
}
ROUNDS = 3

worker = Worker()


@worker.step("lookup")
async def lookup(input: dict, ctx: Context) -> str:
    """Looks something up."""
    return f"{ctx.params['what']} for {input['run']['city']}"


@worker.step("compare")
async def compare(input: dict) -> str:
    """Joins what it gets."""
    return " + ".join(str(value) for name, value in sorted(input.items()) if name != "run")


def tell(answer: Validation) -> None:
    """Shows what is wrong; this is also what a model would get to see."""
    for violation in answer.violations:
        print(f"  {violation.message}")


async def repair(client: AsyncClient, plan: dict) -> dict:
    """Applies the fixes until the plan is valid."""
    for round_ in range(1, ROUNDS + 1):
        answer = await client.validate_flow(plan)
        if answer.ok:
            return plan
        print(f"round {round_}: {len(answer.violations)} violations")
        tell(answer)
        if not answer.fix:
            raise SystemExit("no fix keeps the meaning: give the hints back to the author")
        plan = apply_patch(plan, answer.fix)
    raise SystemExit(f"still wrong after {ROUNDS} rounds")


async def main() -> None:
    """Repairs the plan, runs it, prints what came out."""
    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    async with AsyncClient() as client:
        plan = await repair(client, PLAN)
        flow = await client.apply_flow(plan)
        print(f"valid: {json.dumps([step['slug'] for step in plan['steps']])}")
        run = await client.start_run(flow.slug, {"city": "Oslo"})
        print((await run.result(timeout=60))["book"])
    worker.stop()
    await serving


if __name__ == "__main__":
    asyncio.run(main())
