"""Three agents as three workers: a planner that looks at the catalogue and writes a plan, a researcher, and a writer.

    python agents.py

The planner's handler makes the flow of its plan and starts it with `ctx.client` under its own idempotency key: when it is
executed again after a crash it finds the run that it started, and no work is done twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json

from stepgres_worker import AsyncClient, Context, Flow, Worker

task = Flow("answer_question")
researcher, writer = Worker(), Worker()


@task.step(timeout_s=120)
async def plan(input: dict, ctx: Context) -> dict:
    """The planner: a language model would sit here, with the catalogue and the plan's schema in its prompt."""
    question = input["run"]["question"]
    served = {handler.name async for handler in catalogue(ctx.client)}
    topics = [word for word in question.split() if word.istitle()]
    steps = [
        {"slug": f"look_up_{number}", "handler": "look_up", "params": {"topic": topic}}
        for number, topic in enumerate(topics, 1)
    ]
    steps.append({"slug": "text", "handler": "write", "depends_on": [step["slug"] for step in steps]})
    missing = {step["handler"] for step in steps} - served
    if missing:
        raise RuntimeError(f"nobody serves {missing} yet")  # tried again after a while
    flow = await ctx.client.apply_flow({"slug": slug_of(steps), "queue": "agents", "steps": steps})
    run = await ctx.client.start_run(flow.slug, {"question": question}, idempotency_key=ctx.idempotency_key)
    return {"steps": [step["slug"] for step in steps], "text": (await run.result(timeout=100))["text"]}


async def catalogue(client: AsyncClient):
    """Every handler that is served now."""
    token = ""
    while True:
        page = await client.list_handlers(page_size=1000, page_token=token)
        for handler in page:
            yield handler
        token = page.next_page_token
        if not token:
            return


def slug_of(steps: list) -> str:
    """Equal plans are one flow."""
    return f"plan_{hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()[:16]}"


@researcher.step("look_up")
async def look_up(input: dict, ctx: Context) -> str:
    """Finds out about `params.topic`."""
    facts = {"Oslo": "Oslo is the capital of Norway", "Rome": "Rome lies on the Tiber"}
    return facts.get(ctx.params["topic"], f"nothing is known about {ctx.params['topic']}")


@writer.step("write")
async def write(input: dict) -> str:
    """Makes a text of what the steps before it found."""
    return ". ".join(text for name, text in sorted(input.items()) if name != "run") + "."


async def main() -> None:
    """Serves with all three, asks one question twice, prints the answer."""
    agents = [Worker(task), researcher, writer]
    serving = [asyncio.create_task(agent.serve()) for agent in agents]
    await asyncio.gather(*(agent.wait_ready() for agent in agents))
    async with AsyncClient() as client:
        for _ in range(2):  # the second time finds the first one's run
            run = await client.start_run(
                "answer_question", {"question": "what about Oslo and Rome"}, idempotency_key="q-1"
            )
            answer = (await run.result(timeout=120))["plan"]
            print(f"{answer['text']} (steps: {', '.join(answer['steps'])}; new run: {run.created})")
    for agent in agents:
        agent.stop()
    await asyncio.gather(*serving)


if __name__ == "__main__":
    asyncio.run(main())
