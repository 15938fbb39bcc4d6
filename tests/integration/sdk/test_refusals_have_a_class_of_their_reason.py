"""Classes and hints of refusals, from a real coordinator."""

from __future__ import annotations

import uuid

import pytest

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, NotFound, RunSpec, Step
from stepgres_worker.errors import (
    FieldInvalid,
    FlowExists,
    FlowHasActiveRuns,
    FlowNotFound,
    FlowVersionNotFound,
    IdempotencyKeyReused,
    RunNotFound,
    StepExists,
    StepNotFound,
    TaskNotFound,
    TypeViolation,
    UnknownDependency,
)


async def test_each_refusal_is_of_the_class_of_its_reason(coordinator: Coordinator) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        await client.create_flow("shop", [Step("fetch"), Step("store", ["fetch"])])
        await client.create_flow("maps", [Step("each", step_type="map")])
        run = await client.start_run("shop", {}, idempotency_key="k")
        with pytest.raises(FlowExists):
            await client.create_flow("shop", [Step("fetch")])
        with pytest.raises(StepExists):
            await client.add_step("shop", "store")
        with pytest.raises(UnknownDependency):
            await client.add_step("shop", "more", depends_on=["nothing"])
        with pytest.raises(FlowVersionNotFound):
            await client.get_flow("shop", version=7)
        with pytest.raises(IdempotencyKeyReused):
            await client.start_run("shop", {"x": 1}, idempotency_key="k")
        with pytest.raises(FlowHasActiveRuns):
            await client.delete_flow("shop")
        with pytest.raises(TypeViolation):
            await client.start_run("maps", {})
        with pytest.raises(RunNotFound):
            await client.get_run(str(uuid.uuid4()))
        with pytest.raises(FieldInvalid):
            await client.get_run("nonsense")
        with pytest.raises(TaskNotFound):
            await client.get_task(run.id, "fetch", 9)


async def test_a_flow_that_is_not_there_is_answered_with_the_one_that_was_meant(coordinator: Coordinator) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        await client.create_flow("thumbnails", [Step("fetch")])
        calls = [
            lambda: client.get_flow("thumbnials"),
            lambda: client.start_run("thumbnials"),
            lambda: client.delete_flow("thumbnials"),
            lambda: client.add_step("thumbnials", "more"),
        ]
        for call in calls:
            with pytest.raises(FlowNotFound) as refused:
                await call()
            assert str(refused.value) == 'flow: no flow is called "thumbnials"; did you mean "thumbnails"?'
            assert refused.value.field == "flow"
        specs = [RunSpec("thumbnials"), RunSpec("thumbnails"), RunSpec("zzz")]
        errors = [result.error for result in await client.start_runs(specs)]
        assert errors[0] is not None
        assert str(errors[0]).endswith('did you mean "thumbnails"?')
        assert errors[1] is None
        assert errors[2] is not None
        assert "create it" in str(errors[2])


async def test_a_step_that_is_not_there_is_answered_with_the_one_that_was_meant(coordinator: Coordinator) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        await client.create_flow("thumbs", [Step("fetch"), Step("resize", ["fetch"])])
        run = await client.start_run("thumbs")
        with pytest.raises(StepNotFound, match='has no step "resise"; did you mean "resize"'):
            await client.get_task(run.id, "resise")
        with pytest.raises(NotFound, match="read the run to see its steps"):
            await client.list_tasks(run.id, step="zzz")
