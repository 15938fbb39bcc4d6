"""A flow for each tenant, made from a template while everything runs: one worker serves them all.

    python tenants.py

The worker starts first and knows no flow. A step refers to a handler by name and tells it by `params` what to do, so
flows that are made later are served at once. They share one queue: a thousand tenants add no table to the database.
"""

from __future__ import annotations

import asyncio

from stepgres_worker import AsyncClient, Context, Step, Worker

worker = Worker()


@worker.step("fetch_rows")
def fetch_rows(input: dict, ctx: Context) -> list[int]:
    """Stands for a query to the tenant's own database."""
    return list(range(1, ctx.params["rows"] + 1))


@worker.step("scale")
def scale(input: dict, ctx: Context) -> int:
    """Multiplies one row."""
    return input["item"] * ctx.params["by"]


@worker.step("notify")
def notify(input: dict, ctx: Context) -> str:
    """Writes to the tenant."""
    return f"{ctx.params['channel']} to {input['run']['tenant']}: {sum(input['scale'])}"


def template(tenant: dict) -> list[Step]:
    """The steps of one tenant's flow: gold tenants get two messages."""
    steps = [
        Step("fetch", handler="fetch_rows", params={"rows": tenant["rows"]}),
        Step("scale", handler="scale", depends_on=["fetch"], step_type="map", params={"by": tenant["factor"]}),
        Step("mail", handler="notify", depends_on=["scale"], params={"channel": "mail"}),
    ]
    if tenant["gold"]:
        steps.append(Step("call", handler="notify", depends_on=["scale"], params={"channel": "call"}, max_attempts=10))
    return steps


TENANTS = [
    {"tenant": "acme", "rows": 3, "factor": 10, "gold": True},
    {"tenant": "globex", "rows": 5, "factor": 2, "gold": False},
    {"tenant": "initech", "rows": 0, "factor": 7, "gold": True},
]


async def main() -> None:
    """Makes the flows, runs each, prints what the tenants were told."""
    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    async with AsyncClient() as client:
        for tenant in TENANTS:
            # The same again is no error: a service may do this at every start. A changed template makes a version.
            slug = f"onboard_{tenant['tenant']}"
            await client.create_flow(slug, template(tenant), queue="tenants", new_version=True)
        runs = [await client.start_run(f"onboard_{t['tenant']}", {"tenant": t["tenant"]}) for t in TENANTS]
        for run in runs:
            for message in (await run.result(timeout=60)).values():
                print(message)
    worker.stop()
    await serving


if __name__ == "__main__":
    asyncio.run(main())
