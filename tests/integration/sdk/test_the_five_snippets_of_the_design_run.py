"""The snippets that introduce the SDK, as they stand, in processes of their own."""

from __future__ import annotations

import json
import signal

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient
from tests.integration.sdk.scripts import run_script, running_script


async def test_1_a_flow_defined_and_executed_in_place(coordinator: Coordinator) -> None:
    source = """
        from stepgres_worker import Client, Step
        def f(input): return [1, 2, input["run"]["n"]]
        def g(input): return sum(input["double"])
        with Client() as c:
            c.create_flow("ai", steps=[Step("fetch"), Step("double", depends_on=["fetch"], step_type="map"),
                                       Step("save", depends_on=["double"])])
            functions = {"fetch": f, "double": lambda i: i["item"] * 2, "save": g}
            out = c.execute("ai", {"n": 3}, step_functions=functions, timeout=60)
            c.create_flow("other"); c.add_step("other", "fetch")
            print(out, c.execute("other", {"n": 9}, {"fetch": f}, timeout=60))
    """
    assert (await run_script(coordinator, source)).split("\n")[0] == "{'save': 12} {'fetch': [1, 2, 9]}"


ETL = """
    from stepgres_worker import Flow, Worker
    flow = Flow("etl", max_attempts=5)
    @flow.step
    def fetch(input): return [1, 2, 3]
    @flow.map(over=fetch, timeout_s=60)
    def double(input): return input["item"] * 2
    Worker(flow, concurrency=100).run()
    print("drained", flush=True)
"""


async def test_2_a_flow_in_code_registers_serves_and_drains(coordinator: Coordinator, client: AsyncClient) -> None:
    async with running_script(coordinator, ETL) as process:
        run = None
        while run is None:
            flows = await client.list_flows(slug_prefix="etl")
            run = await client.start_run("etl", {}) if flows.items else None
        assert await run.result(timeout=30) == {"double": [2, 4, 6]}
        info = await client.get_flow("etl")
        assert (info.max_attempts, [step.timeout_s for step in info.steps]) == (5, [None, 60])
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert await process.stdout.read() == b"drained\n"
        assert await process.wait() == 0


async def test_3_a_map_over_the_run_input_is_watched(coordinator: Coordinator) -> None:
    source = """
        import asyncio, threading
        from stepgres_worker import Client, Flow, Worker
        flow = Flow("thumbs")
        @flow.map
        def resize(input): return input["item"] + ".png"
        worker = Worker(flow)
        threading.Thread(target=worker.run, daemon=True).start()
        c, k, urls = Client(), "key-1", ["a", "b", "c"]
        c.register(flow)
        run = c.start_run("thumbs", urls, idempotency_key=k)
        for snap in run.watch(): counts = snap.steps["resize"].counts
        thumbs = run.result(timeout=60)["resize"]
        again = c.start_run("thumbs", urls, idempotency_key=k)
        print(thumbs, counts.completed, counts.total, again.id == run.id, again.created)
    """
    assert (await run_script(coordinator, source)).strip() == "['a.png', 'b.png', 'c.png'] 3 3 True False"


async def test_4_failures_say_when_to_try_again_and_when_not(coordinator: Coordinator) -> None:
    source = """
        import asyncio
        from stepgres_worker import AsyncClient, RunFailed, Step, TaskError, Worker
        class CardError(Exception): pass
        class Busy(Exception): seconds = 0
        worker, tries = Worker(), []
        async def pay(account, key):
            tries.append((account, key))
            if account == "stolen": raise CardError("stolen card")
            if len(tries) == 1: raise Busy
            return "paid"
        @worker.step("charge", non_retryable=(CardError,))
        async def charge(input, ctx):
            try: return await pay(ctx.params["account"], key=ctx.idempotency_key)
            except Busy as e: raise TaskError("bank is busy", code="BANK_BUSY", retry_after_s=e.seconds) from e
        async def main():
            async with AsyncClient() as c:
                await c.create_flow("good", [Step("pay", handler="charge", params={"account": "a1"})])
                await c.create_flow("bad", [Step("pay", handler="charge", params={"account": "stolen"})])
                serving = asyncio.create_task(worker.serve())
                run = await c.start_run("good")
                print(await run.result(timeout=30), tries == [("a1", f"{run.id}:pay:0")] * 2)
                task = await c.get_task(run.id, "pay")
                first = task.attempts[0]
                print(first.code, first.message, "Busy" in first.details)
                try: await (await c.start_run("bad")).result(timeout=30)
                except RunFailed as e: print(e.step, e.code, e.message, len(tries))
                worker.stop()
                await serving
        asyncio.run(main())
    """
    assert (await run_script(coordinator, source)).splitlines() == [
        "{'pay': 'paid'} True",
        "BANK_BUSY bank is busy True",
        "pay HANDLER_ERROR CardError: stolen card 3",
    ]


async def test_5_an_async_web_app_starts_and_streams(coordinator: Coordinator) -> None:
    source = """
        import asyncio
        from stepgres_worker import AsyncClient, Flow, Worker
        flow = Flow("orders")
        @flow.step
        async def ship(input): return input["run"]["id"]
        async def stream(body, order_id, cursor=None):
            async with AsyncClient() as c:
                run = await c.start_run("orders", body, idempotency_key=order_id)
                async for snap in c.run(run.id).watch(cursor): yield snap.to_json()
        async def main():
            worker = Worker(flow)
            serving = asyncio.create_task(worker.serve())
            await worker.wait_ready()
            lines = [line async for line in stream({"id": "o-1"}, "o-1")]
            import json
            last = json.loads(lines[-1])
            again = [json.loads(line) async for line in stream({"id": "o-1"}, "o-1", last["cursor"])]
            print(lines[-1])
            print(len(again), again[-1]["status"])
            worker.stop()
            await serving
        asyncio.run(main())
    """
    first, second = (await run_script(coordinator, source)).splitlines()
    last = json.loads(first)
    assert (last["status"], last["steps"]["ship"]["status"]) == ("completed", "completed")
    assert second.endswith("completed")
