"""Addresses: what is one, and what is refused at once."""

from __future__ import annotations

import pytest

from stepgres_worker import AsyncClient, Client, Worker
from stepgres_worker._targets import resolve_target

GOOD = [
    "localhost:50051",
    "127.0.0.1:1",
    "[::1]:50051",
    "my_host-1.svc:65535",
    "dns:///stepgres:50051",
    "dns:stepgres:50051",
    "dns://1.1.1.1/stepgres:50051",
    "ipv4:10.0.0.1:50051,10.0.0.2:50051",
    "ipv6:[::1]:5,[::2]:6",
    "unix:/run/stepgres.sock",
    "unix:///run/stepgres.sock",
    "xds:///stepgres",
]
BAD = [
    "nonsense",
    "localhost:99999",
    "localhost:0",
    "localhost:",
    "localhost:http",
    ":50051",
    "a b:1",
    "::1",
    "http://x",
    "https://x:443/y",
    "grpc://x:1",
    "dns:///stepgres",
    "ipv4:10.0.0.1:50051,10.0.0.2",
    "unix:",
]


@pytest.mark.parametrize("target", GOOD)
def test_what_grpc_takes_is_taken(target: str) -> None:
    assert resolve_target(target) == target


@pytest.mark.parametrize("target", BAD)
@pytest.mark.parametrize("make", [Client, AsyncClient, lambda target: Worker(target=target)])
def test_nonsense_is_refused_at_once_with_the_form(target: str, make: type[Client]) -> None:
    with pytest.raises(ValueError, match=r"write host:port, such as 127\.0\.0\.1:50051") as error:
        make(target)
    assert str(error.value).startswith(f"target: {target!r} ")


def test_the_variable_is_named_when_it_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGRES_TARGET", "nonsense")
    with pytest.raises(ValueError, match=r"^STEPGRES_TARGET: 'nonsense' is not host:port"):
        Client()
    monkeypatch.setenv("STEPGRES_TARGET", "")
    assert resolve_target(None) == "127.0.0.1:50051"
