"""AsyncClient on real gRPC: typed errors, deadlines, sizes, what happens while nobody is there."""

from __future__ import annotations

import asyncio
import gc

import grpc
import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import (
    AlreadyExists,
    AsyncClient,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Step,
    StepgresError,
    Unavailable,
    Worker,
)


async def test_refusals_arrive_as_classes_with_reason_and_fields(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument) as wrong:
        await client.create_flow("bad slug", [Step("a", depends_on=["nobody"]), Step("a")])
    assert wrong.value.reason
    assert wrong.value.field == "slug"
    assert {violation.field for violation in wrong.value.violations} >= {"slug", "steps[0].depends_on[0]"}
    with pytest.raises(NotFound) as missing:
        await client.get_flow("nobody")
    assert missing.value.reason == "FLOW_NOT_FOUND"
    await client.create_flow("mine", [Step("a")])
    with pytest.raises(AlreadyExists) as differs:
        await client.create_flow("mine", [Step("b")])
    assert differs.value.reason == "FLOW_EXISTS"
    await client.start_run("mine")
    with pytest.raises(FailedPrecondition) as active:
        await client.delete_flow("mine")
    assert active.value.reason == "FLOW_HAS_ACTIVE_RUNS"
    assert await client.delete_flow("mine", force=True) == 1


async def test_payloads_pass_byte_for_byte(client: AsyncClient) -> None:
    await client.create_flow("echo", [Step("a")])
    text = '{"big": 123456789012345678901234567890, "ü": "🎉",  "f": 1.50}'.encode()
    run = await client.start_run("echo", text)
    assert (await run.get()).input_json == text
    seen: list[object] = []

    async def note(input: dict[str, object]) -> object:
        seen.append(input["run"])
        return input["run"]

    output = await client.execute("echo", text, {"a": note}, timeout=30)
    assert seen == [{"big": 123456789012345678901234567890, "ü": "🎉", "f": 1.5}]
    assert output == {"a": seen[0]}


async def test_nobody_there_says_what_to_do() -> None:
    async with AsyncClient("127.0.0.1:9", timeout_s=0.5) as client:
        with pytest.raises(Unavailable, match="stepgres dev"):
            await client.get_flow("f")


async def test_a_client_belongs_to_one_loop(coordinator: Coordinator, client: AsyncClient) -> None:
    await client.list_flows()

    def elsewhere() -> None:
        asyncio.run(client.list_flows())  # type: ignore[arg-type]

    with pytest.raises(StepgresError, match="another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_a_closed_client_opens_again(client: AsyncClient) -> None:
    await client.list_flows()
    await client.close()
    await client.list_flows()


async def test_watches_left_early_and_workers_stopped_leave_no_call_behind(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    await client.create_flow("f", [Step("a")])
    run = await client.start_run("f")
    worker = Worker(target=f"127.0.0.1:{coordinator.port}", scope="elsewhere")
    worker.step("x")(lambda input: 1)
    serving = asyncio.create_task(worker.serve())
    await worker.wait_ready()
    watch = run.watch()
    async for _ in watch:
        break
    await watch.aclose()
    worker.stop()
    await serving
    await client.close()
    gc.collect()
    calls = [thing for thing in gc.get_objects() if isinstance(thing, grpc.aio.Call)]
    assert [call for call in calls if not call.done()] == []
