"""ListHandlers: what workers tell of their handlers, from their Hello to their end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any, Literal, TypedDict

import grpc
import psycopg
import pytest

from stepgres.v1 import worker_pb2
from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient, Flow, InvalidArgument, Step, Worker
from tests.integration.catalogue.served import handler_names, serving, subscriptions
from tests.support.flows import eventually
from tests.support.raw_worker import RawWorker, raw_worker

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Charge(TypedDict):
    amount: int
    currency: Literal["EUR", "USD"]


class Account(TypedDict, total=False):
    name: str


async def test_a_handler_tells_of_itself_and_goes_with_its_worker(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")

    @worker.step("charge", params_schema=Account)
    async def charge(input: Charge) -> bool:
        """Charges a card
        once.

        Nobody but the reader of the code sees this.
        """
        return True

    await client.create_flow("shop", [Step("pay", handler="charge"), Step("tip", handler="charge"), Step("other")])
    async with serving(worker):
        (handler,) = await client.list_handlers()
        assert (handler.name, handler.scope, handler.session_count) == ("charge", "", 1)
        assert handler.description == "Charges a card once."
        assert handler.params_schema == {"type": "object", "properties": {"name": {"type": "string"}}}
        assert handler.input_schema == {
            "type": "object",
            "properties": {"amount": {"type": "integer"}, "currency": {"enum": ["EUR", "USD"]}},
            "required": ["amount", "currency"],
        }
        assert handler.output_schema == {"type": "boolean"}
        assert (handler.steps, handler.step_count) == (("shop.pay", "shop.tip"), 2)
        assert handler.to_dict()["output_schema"] == {"type": "boolean"}

    async def gone() -> bool:
        return await handler_names(client) == []

    await eventually(gone)


async def test_a_map_tells_that_it_gets_an_item_and_its_index(coordinator: Coordinator, client: AsyncClient) -> None:
    flow = Flow("thumbs")

    @flow.map
    async def resize(input: dict[str, Any]) -> str:
        return ""

    @flow.map
    async def rotate(input: int) -> str:
        return ""

    async with serving(Worker(flow, target=f"127.0.0.1:{coordinator.port}")):
        schemas = {handler.name: handler.input_schema for handler in await client.list_handlers()}
    index = {"type": "integer", "minimum": 0}
    assert schemas == {
        f"thumbs.{step}": {
            "type": "object",
            "properties": {"item": item, "index": index},
            "required": ["item", "index"],
        }
        for step, item in {"resize": {}, "rotate": {"type": "integer"}}.items()
    }


async def test_schemas_come_back_byte_for_byte(channel: grpc.aio.Channel, client: AsyncClient) -> None:
    # With a pattern of ECMA-262 that Python does not know.
    schema = b'{ "type" : "object",\n\t"pattern":"^\\\\p{L}$", "default":{"b":1.0e2,"a":-0.0,"a":1}, "title":"\xc3\xa4 \\u00e4" }'
    handler = worker_pb2.Handler(
        name="h", description="ä", params_schema=schema, input_schema=schema + b" ", output_schema=b"{}"
    )
    async with raw_worker(channel, [], **subscriptions(handler)):
        (found,) = await client.list_handlers()
    assert (found.params_schema_json, found.input_schema_json, found.output_schema_json) == (
        schema,
        schema + b" ",
        b"{}",
    )
    assert found.description == "ä"


async def test_a_killed_worker_leaves_the_catalogue(coordinator: Coordinator, client: AsyncClient) -> None:
    source = f"""
from stepgres_worker import Worker
worker = Worker(target="127.0.0.1:{coordinator.port}")
worker.step("h")(lambda input: 1)
worker.run()
"""
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", source])
    try:

        async def served() -> bool:
            return await handler_names(client) == ["h"]

        await eventually(served)
    finally:
        process.kill()
        process.wait()

    async def gone() -> bool:
        return await handler_names(client) == [] and len(await client.list_workers()) == 0

    await eventually(gone)


async def test_a_session_whose_lease_ran_out_counts_no_more(
    conn: Connection, channel: grpc.aio.Channel, client: AsyncClient
) -> None:
    async with raw_worker(channel, ["h"], worker="first"), raw_worker(channel, ["h"], worker="second"):
        assert [handler.session_count for handler in await client.list_handlers()] == [2]
        # As a session of a coordinator that is gone too: nobody closed it, nobody renews it.
        await conn.execute(
            "update pgflow.sessions set lease_until = pgflow.now() - interval '1 ms', epoch = epoch + 1"
            " where worker_id = (select worker_id from pgflow.workers where worker_name = 'second')"
        )

        async def one() -> bool:
            return [handler.session_count for handler in await client.list_handlers()] == [1]

        await eventually(one)
        assert [worker.worker for worker in await client.list_workers()] == ["first"]


async def test_the_session_that_connected_last_is_believed(channel: grpc.aio.Channel, client: AsyncClient) -> None:
    old = worker_pb2.Handler(name="h", description="old", params_schema=b'{"title":"old"}')
    new = worker_pb2.Handler(name="h", description="new", params_schema=b'{"title":"new"}')

    async def told(description: str, sessions: int) -> None:
        async def so() -> bool:
            (handler,) = await client.list_handlers()
            assert handler.params_schema == {"title": handler.description}
            return (handler.description, handler.session_count) == (description, sessions)

        await eventually(so)

    async with raw_worker(channel, [], **subscriptions(old)):
        async with raw_worker(channel, [], **subscriptions(new)) as second:
            await told("new", 2)
            await second.goodbye()
        await told("old", 1)


async def test_workers_that_serve_the_same_share_what_is_stored(conn: Connection, channel: grpc.aio.Channel) -> None:
    handlers = [worker_pb2.Handler(name=f"h{n}", description=f"number {n % 3}") for n in range(10)]
    workers = [RawWorker(channel) for _ in range(20)]
    try:
        await asyncio.gather(*(worker.open([], **subscriptions(*handlers)) for worker in workers))
        row = await (await conn.execute("select count(*) from pgflow.handler_details")).fetchone()
        assert row == (3,)
        before = await _written(conn)
        # The same again on a resume writes nothing of the catalogue.
        again = RawWorker(channel, workers[0].instance_id)
        workers.append(again)
        assert workers[0].welcome is not None
        workers[0].cut()
        welcome = await again.open([], session_id=workers[0].welcome.session_id, **subscriptions(*handlers))
        assert welcome.resumed
        assert await _written(conn) == before
    finally:
        for worker in workers:
            await worker.close()


async def _written(conn: Connection) -> list[tuple[Any, ...]]:
    """Versions of the rows of the catalogue."""
    cursor = await conn.execute(
        "select 'd', xmin::text, ctid::text from pgflow.handler_details"
        " union all select 'h', xmin::text, ctid::text from pgflow.session_handlers order by 1, 3"
    )
    return await cursor.fetchall()


async def test_what_no_session_serves_is_forgotten(conn: Connection, channel: grpc.aio.Channel) -> None:
    async with raw_worker(channel, ["served"]):
        async with raw_worker(channel, [], **subscriptions(worker_pb2.Handler(name="h", description="left"))) as left:
            await left.goodbye()
        await conn.execute("update pgflow.handler_details set seen_at = pgflow.now() - interval '61 minutes'")
        await conn.execute("select pgflow.prune_names()")
        rows = await (await conn.execute("select description from pgflow.handler_details")).fetchall()
    assert rows == [("",)]


async def test_pages_go_by_name_then_scope(channel: grpc.aio.Channel, client: AsyncClient) -> None:
    async with (
        raw_worker(channel, ["b", "a", "B", "ab", "c"]),
        raw_worker(channel, ["a", "b"], scope="blue"),
        raw_worker(channel, ["a"], scope="green"),
    ):
        expected = [
            ("B", ""),
            ("a", ""),
            ("a", "blue"),
            ("a", "green"),
            ("ab", ""),
            ("b", ""),
            ("b", "blue"),
            ("c", ""),
        ]
        for size in (1, 3, 8, 50):
            found: list[tuple[str, str]] = []
            token = ""
            while True:
                page = await client.list_handlers(page_size=size, page_token=token)
                assert len(page) <= size
                found += [(handler.name, handler.scope) for handler in page]
                if not (token := page.next_page_token):
                    break
            assert found == expected
        first = await client.list_handlers(name_prefix="a", page_size=3)
        rest = await client.list_handlers(name_prefix="a", page_size=3, page_token=first.next_page_token)
        assert [h.name for h in first] + [h.name for h in rest] == ["a", "a", "a", "ab"]
        with pytest.raises(InvalidArgument) as refused:
            await client.list_handlers(name_prefix="b", page_token=first.next_page_token)
        assert refused.value.reason == "INVALID_PAGE_TOKEN"


async def test_only_steps_of_latest_versions_are_named_and_the_first_hundred(
    channel: grpc.aio.Channel, client: AsyncClient
) -> None:
    await client.create_flow("old", [Step("a", handler="h")], queue="shared")
    await client.create_flow("old", [Step("b", handler="h")], queue="shared", new_version=True)
    steps = [Step(f"s{number:03}", handler="h") for number in range(104)]
    await client.create_flow("wide", steps, queue="shared")
    async with raw_worker(channel, ["h", "free"]):
        free, handler = await client.list_handlers()
    assert (free.steps, free.step_count) == ((), 0)
    assert handler.steps == ("old.b", *(f"wide.s{number:03}" for number in range(99)))
    assert handler.step_count == 105


@pytest.mark.parametrize(
    ("field", "value", "reason", "said"),
    [
        ("params_schema", b"{", "INVALID_JSON", "not JSON"),
        ("params_schema", b"[]", "FIELD_INVALID", "no JSON object"),
        ("input_schema", b"true", "FIELD_INVALID", "no JSON object"),
        ("input_schema", b'{"type":"text"}', "FIELD_INVALID", "/type"),
        ("input_schema", b'{"$schema":5}', "FIELD_INVALID", "no valid JSON Schema"),
        ("input_schema", b'{"$schema":"http://["}', "FIELD_INVALID", "no valid JSON Schema"),
        ("output_schema", b'{"title":"\\u0000"}', "NUL_CHARACTER", "U+0000"),
        ("output_schema", b'{"title":"\xff"}', "INVALID_JSON", "not JSON"),
        ("output_schema", b'{"title":"' + b"x" * 65536 + b'"}', "PAYLOAD_TOO_LARGE", "65536"),
        ("output_schema", b'{"not":' * 900 + b"{}" + b"}" * 900, "FIELD_INVALID", "deep"),
        ("description", "x" * 8193, "FIELD_TOO_LONG", "8192"),
        ("description", "a\0b", "NUL_CHARACTER", "U+0000"),
    ],
)
async def test_what_breaks_a_rule_ends_the_stream_by_name(
    channel: grpc.aio.Channel, client: AsyncClient, field: str, value: Any, reason: str, said: str
) -> None:
    good, bad = worker_pb2.Handler(name="good"), worker_pb2.Handler(name="bad", **{field: value})
    worker = RawWorker(channel)
    worker.connect()
    worker.send(
        hello=worker_pb2.Hello(
            worker="raw",
            instance_id=worker.instance_id,
            min_protocol_version=1,
            max_protocol_version=1,
            **subscriptions(good, bad),
        )
    )
    error = await worker.ended()
    await worker.close()
    assert error is not None
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith(f"hello.subscriptions[0].handlers[1].{field}: ")
    assert said in (error.details() or "")
    trailers = dict(error.trailing_metadata() or ())
    assert reason.encode() in bytes(trailers["grpc-status-details-bin"])
    assert await handler_names(client) == []


@pytest.mark.parametrize("what", ["schema", "description", "json"])
async def test_the_sdk_refuses_too_much_before_it_connects(what: str) -> None:
    worker = Worker(target="127.0.0.1:1")
    schema: dict[str, Any] | None = {"schema": {"title": "x" * 65536}, "json": {"title": object()}}.get(what)

    async def handler(input: Any) -> None: ...

    handler.__doc__ = "x " * 5000 if what == "description" else "Short."
    worker.step("big", params_schema=schema)(handler)
    with pytest.raises(ValueError, match=r"^handler big: .*(65536|8192|not JSON)"):
        await worker.serve()
    # And the worker is as it was: the same again.
    with pytest.raises(ValueError, match=r"^handler big: "):
        await worker.serve()


def test_params_schemas_that_tell_nothing_are_refused_at_once() -> None:
    worker = Worker()
    for nothing in (object, json.JSONDecoder, "text"):
        with pytest.raises(TypeError, match=r"^handler h: params_schema"):
            worker.step("h", params_schema=nothing)(lambda input: 1)  # type: ignore[arg-type]


async def test_params_that_do_not_fit_their_handlers_schema_are_warned_of(
    coordinator: Coordinator, client: AsyncClient
) -> None:
    worker = Worker(target=f"127.0.0.1:{coordinator.port}")

    @worker.step("charge", params_schema={"type": "object", "properties": {"cents": {"type": "integer"}}})
    async def charge(input: Charge) -> bool:
        return True

    steps = [
        {"slug": "right", "handler": "charge", "params": {"cents": 5}},
        {"slug": "wrong", "handler": "charge", "params": {"cents": "five"}},
    ]
    async with serving(worker):
        answer = await client.validate_flow({"slug": "shop", "steps": steps})
    assert answer.ok
    assert [(w.path, w.reason, w.fix) for w in answer.warnings] == [("steps[1].params.cents", "PARAMS_MISMATCH", ())]
    assert answer.warnings[0].message == (
        "steps[1].params.cents: 'five' is not of type 'integer', says handler \"charge\"; correct the params"
    )
