"""Maps over the run input, over a step, over a map; empty ones, large ones, and what is no array."""

from __future__ import annotations

from typing import Any

import pytest

from stepgres_worker import AsyncClient, InvalidArgument, RunFailed, Step


async def test_a_root_map_goes_over_the_run_input(client: AsyncClient) -> None:
    await client.create_flow("thumbs", [Step("resize", step_type="map")])
    out = await client.execute("thumbs", ["a", "b", "c"], {"resize": lambda i: f"{i['index']}{i['item']}"}, timeout=20)
    assert out == {"resize": ["0a", "1b", "2c"]}


async def test_a_map_goes_over_a_map_and_a_single_step_gets_the_array(client: AsyncClient) -> None:
    await client.create_flow(
        "chain",
        [
            Step("numbers"),
            Step("double", depends_on=["numbers"], step_type="map"),
            Step("text", depends_on=["double"], step_type="map"),
            Step("join", depends_on=["text", "numbers"]),
        ],
    )
    functions = {
        "numbers": lambda i: list(range(i["run"]["n"])),
        "double": lambda i: i["item"] * 2,
        "text": lambda i: str(i["item"]),
        "join": lambda i: [",".join(i["text"]), len(i["numbers"]), i["run"]["n"]],
    }
    assert await client.execute("chain", {"n": 5}, functions, timeout=20) == {"join": ["0,2,4,6,8", 5, 5]}


async def test_an_empty_map_cascades_through_sixty_levels(client: AsyncClient) -> None:
    steps = [Step("m0", step_type="map")]
    steps += [Step(f"m{n}", depends_on=[f"m{n - 1}"], step_type="map") for n in range(1, 60)]
    steps.append(Step("end", depends_on=["m59"]))
    await client.create_flow("deep", steps)
    functions = {step.slug: _must_not_run for step in steps} | {"end": lambda i: i["m59"]}
    assert await client.execute("deep", [], functions, timeout=20) == {"end": []}


async def test_a_flow_that_ends_in_empty_maps_completes_in_start_run(client: AsyncClient) -> None:
    await client.create_flow("empty", [Step("a", step_type="map"), Step("b", depends_on=["a"], step_type="map")])
    run = await client.start_run("empty", [])
    assert await run.result(timeout=10) == {"b": []}


async def test_ten_thousand_items_keep_their_order(client: AsyncClient) -> None:
    await client.create_flow("many", [Step("make"), Step("work", depends_on=["make"], step_type="map")])

    async def work(input: Any) -> list[int]:
        return [input["index"], input["item"]]

    async def make(input: Any) -> list[int]:
        return [n * 7 for n in range(10_000)]

    out = await client.execute("many", None, {"make": make, "work": work}, timeout=60)
    assert out["work"] == [[n, n * 7] for n in range(10_000)]


async def test_two_hundred_steps_join_in_one(client: AsyncClient) -> None:
    slugs = [f"s{n}" for n in range(200)]
    await client.create_flow("wide", [*(Step(slug) for slug in slugs), Step("join", depends_on=slugs)])
    functions: dict[str, Any] = {slug: (lambda i, n=n: n) for n, slug in enumerate(slugs)}
    functions["join"] = lambda i: sum(i[slug] for slug in slugs)
    assert await client.execute("wide", {}, functions, timeout=30) == {"join": sum(range(200))}


async def test_a_step_that_gives_no_array_to_a_map_fails_the_run_without_a_retry(client: AsyncClient) -> None:
    calls = []
    await client.create_flow(
        "wrong", [Step("make", max_attempts=5), Step("work", depends_on=["make"], step_type="map")]
    )
    with pytest.raises(RunFailed) as failed:
        await client.execute(
            "wrong", {}, {"make": lambda i: calls.append(1) or {"no": "array"}, "work": _must_not_run}, timeout=20
        )
    assert (failed.value.step, failed.value.code) == ("make", "TYPE_VIOLATION")
    assert 'map step "work" needs an array' in failed.value.message
    assert len(calls) == 1


async def test_another_length_than_promised_fails_the_step_with_both_numbers(client: AsyncClient) -> None:
    await client.create_flow(
        "promise", [Step("make"), Step("work", depends_on=["make"], step_type="map", initial_tasks=3)]
    )
    with pytest.raises(RunFailed) as failed:
        await client.execute("promise", {}, {"make": lambda i: [1, 2], "work": _must_not_run}, timeout=20)
    assert failed.value.code == "INITIAL_TASKS_MISMATCH"
    assert "3" in failed.value.message
    assert "2" in failed.value.message


@pytest.mark.parametrize("input", [{"no": "array"}, "text", 1, None])
async def test_a_run_input_that_is_no_array_for_a_root_map_is_refused(client: AsyncClient, input: Any) -> None:
    await client.create_flow("root", [Step("work", step_type="map")])
    with pytest.raises(InvalidArgument) as refused:
        await client.start_run("root", b"null" if input is None else input)
    assert refused.value.reason == "TYPE_VIOLATION"
    assert refused.value.field == "input"


async def test_a_flow_without_steps_completes_at_once(client: AsyncClient) -> None:
    await client.create_flow("nothing")
    assert await (await client.start_run("nothing", {"a": 1})).result(timeout=10) == {}


async def test_a_step_added_later_is_no_part_of_a_running_run(client: AsyncClient) -> None:
    await client.create_flow("grow", [Step("first")])
    run = await client.start_run("grow", {}, scope="mine")
    await client.add_step("grow", "second", depends_on=["first"])
    snapshot = await client.get_run(run.id)
    assert list(snapshot.steps) == ["first"]


def _must_not_run(input: Any) -> None:
    raise AssertionError("this step must not run")
