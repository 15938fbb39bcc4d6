"""What the dispatcher does with credits and tasks when a stream ends, or a lease fails, in between."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from stepgres_service.engine.dispatch import Dispatcher
from stepgres_service.engine.sessions import Session
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.tokens import decode_token
from stepgres_service.store.pool import Database
from stepgres_service.store.tasks import LeasedTask, PayloadLimits, TaskStore


class NoTimeouts:
    def timeout_s(self, version_id: int, step_index: int) -> float | None:
        return 60.0


def dispatcher(*handlers: str) -> Dispatcher:
    """One that knows its routes: handler n is route n + 1."""
    made = Dispatcher(TaskStore(Database("dbname=unused"), PayloadLimits()), NoTimeouts(), EngineSettings(), list)
    made._routes = {n + 1: ("", name) for n, name in enumerate(handlers)}
    return made


def session(*handlers: str, credits: int) -> Session:
    made = Session(uuid4(), 1, "w", 1, frozenset(("", name) for name in handlers), 2.0, 100)
    made.grant(credits)
    return made


def task(number: int, session_item: int = 1) -> LeasedTask:
    run = UUID(int=number)
    return LeasedTask(session_item, str(run), run.bytes, 0, 0, 1, 1, 1, "", None, b"{}")


@pytest.mark.parametrize("gone", ["broken", "removed", "resumed"])
async def test_tasks_for_a_stream_that_is_gone_are_named_and_its_credits_die(gone: str) -> None:
    work = dispatcher("h")
    leaving, staying = session("h", credits=3), session("h", credits=3)
    for one in (leaving, staying):
        work.add(one)
    work.wake([1])
    (lease,) = work.plan(6)
    if gone == "broken":
        leaving.connected = False
    else:
        work.remove(leaving)
        leaving.connected = False
    if gone == "resumed":
        successor = session("h", credits=1)
        successor.id = leaving.id
        work.add(successor)
    item = lease.sessions.index(leaving) + 1
    back = work.settle(lease, [task(1, item), task(2, 3 - item)])
    assert [(owner, decode_token(token).run_id) for owner, token in back] == [(leaving, UUID(int=1).bytes)]  # type: ignore[union-attr]
    assert leaving.credits == 0
    assert not leaving.leases
    assert (staying.credits, len(staying.leases)) == (2, 1)


async def test_a_failed_lease_gives_its_credits_back_and_keeps_its_routes_hot() -> None:
    work = dispatcher("h")
    worker = session("h", credits=5)
    work.add(worker)
    work.wake([1])
    (first,) = work.plan(3)
    (second,) = work.plan(2)
    # The second found nothing, because the first held the messages; then the first failed.
    assert work.settle(second, []) == []
    assert work.settle(first, None) == []
    assert worker.credits == 5
    assert work.outstanding() == 5
    assert [lease.request.route_ids for lease in work.plan(5)] == [[1]]


async def test_a_route_whose_leases_fail_is_found_and_the_others_go_on() -> None:
    work = dispatcher("bad", "good", "better")
    worker = session("bad", "good", "better", credits=5)
    work.add(worker)
    work.wake([1, 2, 3])
    asked: list[list[int]] = []
    for _ in range(20):
        planned = work.plan(5)
        if not planned:
            break
        (lease,) = planned
        asked.append(lease.request.route_ids)
        work.settle(lease, None if 1 in lease.request.route_ids else [])
    assert worker.credits == 5
    assert [1] in asked
    assert [2] in asked
    assert [3] in asked
    assert len(asked) < 10


def begins(work: Dispatcher, *, found: int = 5) -> dict[int, int]:
    """Where the next lease of five tasks begins in each route; it brings so many."""
    planned = work.plan(5)
    for lease in planned:
        work.settle(lease, [task(n) for n in range(found)])
        lease.sessions[0].grant(found)
    return {r: f for lease in planned for r, f in zip(lease.request.route_ids, lease.request.from_ids, strict=True)}


async def test_leases_begin_a_margin_before_the_first_message_that_was_seen_last() -> None:
    work = dispatcher("seen", "unseen", "cold", "foreign")
    work.add(session("seen", "unseen", "cold", credits=5))
    work.wake([1, 2])
    assert begins(work) == {1: 0, 2: 0}
    work.seen([(1, 70_000), (3, 70_000), (4, 70_000), (5, 70_000)])
    assert begins(work) == {1: 60_000, 2: 0}
    work.seen([(2, 100)])
    assert begins(work) == {1: 60_000, 2: 0}
    work.seen([(1, 50_000)])  # committed late
    assert begins(work) == {1: 40_000, 2: 0}
    work.seen([(1, None)])  # only tasks that go first
    assert begins(work) == {1: 40_000, 2: 0}


async def test_no_route_turns_cold_by_a_lease_that_did_not_look_at_everything() -> None:
    work = dispatcher("one", "two")
    work.add(session("one", "two", credits=5))
    work.wake([1, 2])
    work.seen([(1, 70_000)])
    assert begins(work, found=4) == {1: 60_000, 2: 0}
    assert begins(work, found=4) == {1: 0}
    assert begins(work) == {}
    work.wake([1])
    assert begins(work) == {1: 0}


async def test_an_outage_is_no_fault_of_a_route() -> None:
    work = dispatcher("one", "two")
    worker = session("one", "two", credits=5)
    work.add(worker)
    work.wake([1, 2])
    for _ in range(20):
        (lease,) = work.plan(5)
        assert sorted(lease.request.route_ids) == [1, 2]
        work.settle(lease, None, away=True)
    assert worker.credits == 5


async def test_an_unknown_size_of_inputs_is_not_taken_for_a_small_one() -> None:
    work = dispatcher("h")
    worker = session("h", credits=100)
    worker.max_credits = 10_000
    worker.grant(900)
    work.add(worker)
    work.wake([1])
    (lease,) = work.plan(1000)
    # Each may have up to a megabyte.
    assert sum(lease.request.credits) <= 128


async def test_a_route_that_was_cold_comes_before_those_with_long_queues() -> None:
    work = dispatcher("long", "longer", "new")
    worker = session("long", "longer", "new", credits=4)
    work.add(worker)
    work.wake([1, 2])
    order: list[int] = []
    for turn in range(3):
        (lease,) = work.plan(4)
        order.append(lease.request.route_ids[0])
        work.settle(lease, [task(10 * turn + n) for n in range(4)])  # all that was asked for
        worker.grant(4)
        if turn == 0:
            work.wake([3])
    (lease,) = work.plan(4)
    order.append(lease.request.route_ids[0])
    # The new one at its first turn, then each in its own.
    assert order[1] == 3
    assert set(order[2:]) == {1, 2}
