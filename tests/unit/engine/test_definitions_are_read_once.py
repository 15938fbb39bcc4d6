"""DefinitionCache: what it answers, when it reads, and what it forgets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.errors import Unavailable
from stepgres_service.model import Flow, FlowSpec, Step, StepSpec

AT = datetime(2030, 1, 1, tzinfo=UTC)


def flow(version_id: int, *timeouts: int | None, timeout_s: int | None = 30) -> Flow:
    steps = tuple(Step(StepSpec(f"s{i}", timeout_s=value), i, AT) for i, value in enumerate(timeouts))
    return Flow(FlowSpec("f", timeout_s=timeout_s), 1, version_id, 1, steps, len(steps), AT)


class Store:
    """Answers each read when told to."""

    def __init__(self) -> None:
        self.reads: list[asyncio.Future[Flow | None]] = []
        self.asked: list[list[int]] = []

    async def load_versions(self, version_ids: list[int]) -> dict[int, Flow]:
        self.asked.append(version_ids)
        self.reads.append(asyncio.get_running_loop().create_future())
        found = await self.reads[-1]
        return (
            {} if found is None else {version_id: replace(found, version_id=version_id) for version_id in version_ids}
        )


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cache(store: Any) -> DefinitionCache:
    return DefinitionCache(store, max_versions=2)


async def asked(cache: DefinitionCache, *arguments: int) -> asyncio.Task[Flow | None]:
    task = asyncio.create_task(cache.load(*arguments))
    await settled()
    return task


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def filled(cache: DefinitionCache, store: Store, *flows: Flow) -> None:
    for one in flows:
        task = await asked(cache, one.version_id)
        store.reads[-1].set_result(one)
        await task


async def test_what_was_not_read_is_unknown(cache):
    assert cache.get(1, 0) is None
    assert cache.timeout_s(1, 0) is None


async def test_what_was_read_is_known_up_to_its_last_step(cache, store):
    await filled(cache, store, flow(1, 5, None))

    assert cache.get(1, 1) == flow(1, 5, None)
    assert cache.get(1, 2) is None
    assert [cache.timeout_s(1, index) for index in range(3)] == [5.0, 30.0, None]


async def test_all_who_ask_at_the_same_time_share_a_read(cache, store):
    tasks = [await asked(cache, 1) for _ in range(10)]
    store.reads[0].set_result(flow(1, None))

    assert await asyncio.gather(*tasks) == [flow(1, None)] * 10
    assert len(store.reads) == 1


async def test_a_read_that_began_before_a_step_was_added_is_made_again_once(cache, store):
    first = await asked(cache, 1, 0)
    later = [await asked(cache, 1, 1) for _ in range(3)]
    store.reads[0].set_result(flow(1, None))
    await settled()
    assert first.done()
    assert len(store.reads) == 2
    store.reads[1].set_result(flow(1, None, None))

    assert await asyncio.gather(*later) == [flow(1, None, None)] * 3
    assert len(store.reads) == 2
    assert cache.get(1, 1) is not None


async def test_a_read_again_replaces_what_was_known(cache, store):
    await filled(cache, store, flow(1, None))
    await filled(cache, store, flow(1, None, None))

    assert cache.get(1, 1) is not None


async def test_a_deleted_flow_is_none_and_what_it_was_stays_known(cache, store):
    await filled(cache, store, flow(1, None))
    task = await asked(cache, 1)
    store.reads[-1].set_result(None)

    assert await task is None
    assert cache.get(1, 0) is not None


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(cache, store):
    impatient, patient = await asked(cache, 1), await asked(cache, 1)
    impatient.cancel()
    await settled()
    store.reads[0].set_result(flow(1, None))

    assert await patient == flow(1, None)
    assert impatient.cancelled()


async def test_a_failed_read_fails_all_who_wait_and_the_next_reads_again(cache, store):
    tasks = [await asked(cache, 1) for _ in range(2)]
    store.reads[0].set_exception(Unavailable())
    for task in tasks:
        with pytest.raises(Unavailable):
            await task

    await filled(cache, store, flow(1, None))
    assert cache.get(1, 0) is not None


async def test_a_failure_that_nobody_waits_for_is_no_complaint(cache, store):
    task = await asked(cache, 1)
    task.cancel()
    await settled()
    store.reads[0].set_exception(Unavailable())
    await settled()


async def test_the_version_that_nobody_asked_for_the_longest_is_forgotten(cache, store):
    await filled(cache, store, flow(1, None), flow(2, None))
    cache.get(1, 0)
    await filled(cache, store, flow(3, None))

    assert [cache.get(version_id, 0) is not None for version_id in (1, 2, 3)] == [True, False, True]


async def test_many_are_read_in_one_go_beside_what_is_under_way(cache, store):
    single = await asked(cache, 1)
    several = asyncio.create_task(cache.load_all({1: 0, 2: 0, 3: 1}))
    await settled()
    assert store.asked == [[1], [2, 3]]
    store.reads[0].set_result(flow(1, None))
    store.reads[1].set_result(flow(2, None, None))

    await several

    assert (await single) == flow(1, None)
    assert (cache.get(2, 0) is not None, cache.get(3, 1) is not None) == (True, True)
    assert len(store.reads) == 2


async def test_large_versions_are_forgotten_sooner_but_never_those_of_a_batch(store):
    cache = DefinitionCache(store, max_bytes=1)
    await filled(cache, store, *(flow(number, None) for number in range(1, 2003)))

    assert [cache.get(number, 0) is not None for number in (1, 2, 3, 2002)] == [False, False, True, True]
