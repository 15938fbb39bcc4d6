"""PageTokens: round trip, and everything that is not a token of this list."""

from __future__ import annotations

import base64

import orjson
import pytest

from stepgres.v1 import common_pb2, flow_pb2, run_pb2
from stepgres_service.api.fields import Fields
from stepgres_service.api.paging import PageTokens
from stepgres_service.errors import InvalidArgument, Reason
from stepgres_service.store.pool import Database


def tokens(system_id: str = "1") -> PageTokens:
    database = Database.__new__(Database)  # Without a pool: only its identity counts here.
    database.system_id = system_id
    return PageTokens(database)


def flows(**fields: object) -> flow_pb2.ListFlowsRequest:
    return flow_pb2.ListFlowsRequest(**fields)


def test_a_token_gives_its_position_back():
    token = tokens().make(flows(slug_prefix="a"), "etl", "7")

    assert tokens().read(flows(slug_prefix="a", page_token=token)) == ("etl", "7")


def test_no_token_is_no_position():
    assert tokens().read(flows()) is None


def test_page_size_and_view_may_change_between_pages():
    token = tokens().make(flows(page_size=1), "etl")

    assert tokens().read(flows(page_size=9, view=common_pb2.VIEW_FULL, page_token=token)) == ("etl",)


def test_the_token_of_a_second_page_is_bound_as_that_of_the_first():
    first = tokens().make(flows(), "a")

    assert tokens().make(flows(page_token=first), "b") == tokens().make(flows(), "b")


@pytest.mark.parametrize(
    ("reader", "request_"),
    [
        ("2", flows()),
        ("1", flows(slug_prefix="x")),
        ("1", run_pb2.ListRunsRequest()),
    ],
    ids=["another database", "another filter", "another list"],
)
def test_a_token_of_something_else_is_refused(reader, request_):
    request_.page_token = tokens("1").make(flows(), "etl")

    with pytest.raises(InvalidArgument) as caught:
        tokens(reader).read(request_)

    assert caught.value.violations[0].path == "page_token"
    assert caught.value.reason == Reason.INVALID_PAGE_TOKEN


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    ["x", "é", "=", "a" * 10_000, "\x00", *map(encoded, [[], {}, 1, None, "x", ["x"], [None, 1], [["x"], "y"]])],
)
def test_nonsense_is_refused(token):
    with pytest.raises(InvalidArgument) as caught:
        tokens().read(flows(page_token=token))

    assert caught.value.reason == Reason.INVALID_PAGE_TOKEN
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(("given", "meant"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_a_page_size_has_a_default_and_a_cap(given, meant):
    fields = Fields()

    assert fields.page_size(given) == meant
    assert fields.found == []


def test_a_negative_page_size_is_refused():
    fields = Fields()
    fields.page_size(-1)

    assert [(v.path, v.reason) for v in fields.found] == [("page_size", Reason.FIELD_OUT_OF_RANGE)]
