"""The address of a coordinator: where it comes from, which forms it has, and why nobody answers there."""

from __future__ import annotations

import os
import re

DEFAULT_TARGET = "127.0.0.1:50051"
TARGET_VARIABLE = "STEPGRES_TARGET"
_FORM = "write host:port, such as 127.0.0.1:50051"
#: Schemes of gRPC's names, and whether a port belongs to what follows them.
_SCHEMES = {
    "dns": True,
    "ipv4": True,
    "ipv6": True,
    "unix": False,
    "unix-abstract": False,
    "vsock": False,
    "xds": False,
}
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):(?P<port>\d+)")


class TargetError(ValueError):
    """The text is no address of a coordinator."""


def resolve_target(target: str | None) -> str:
    """The address to call: the argument, else STEPGRES_TARGET, else 127.0.0.1:50051.

    Raises:
        TargetError: it is none; the text names the form.
    """
    if target:
        return _checked(target, "target")
    named = os.environ.get(TARGET_VARIABLE)
    return _checked(named, TARGET_VARIABLE) if named else DEFAULT_TARGET


def _checked(target: str, path: str) -> str:
    fault = _fault(target)
    if fault:
        raise TargetError(f"{path}: {target!r} {fault}")
    return target


def _fault(target: str) -> str:
    """What is wrong with an address and what to do; empty when it is one."""
    if "://" in target and not target.startswith(("dns://", "unix://", "xds://")):
        return f"is a URL; {_FORM}, without {target.partition('://')[0]}://"
    scheme, colon, rest = target.partition(":")
    with_port = _SCHEMES.get(scheme) if colon and not rest.isdigit() else True
    if with_port is False:
        return "" if rest else f"names nothing after {scheme}:; {_FORM}"
    listed = rest if colon and scheme in _SCHEMES and not rest.isdigit() else target
    if scheme == "dns":
        listed = listed.rpartition("/")[2]  # dns://resolver/host:port
    for address in listed.split(",") if scheme in {"ipv4", "ipv6"} else [listed]:
        found = _HOST_PORT.fullmatch(address)
        if found is None:
            return f"is not host:port; {_FORM}"
        if not 1 <= int(found["port"]) <= 65535:
            return f"has the port {found['port']}, and ports are 1 to 65535; {_FORM}"
    return ""


#: What gRPC says when a connection fails, and the same for people; the first that is found counts.
_CAUSES = (
    ("connection refused", "connection refused"),
    ("dns resolution failed", "its name does not resolve"),
    ("domain name not found", "its name does not resolve"),
    ("keepalive", "it stopped answering"),
    ("ping timeout", "it stopped answering"),
    ("timeout", "it does not answer"),
    ("timed out", "it does not answer"),
    ("no route to host", "no route to the host"),
    ("network is unreachable", "the network is unreachable"),
    ("reset by peer", "the connection was reset"),
    ("broken pipe", "the connection was reset"),
    ("goaway", "the coordinator closed the connection"),
    ("socket closed", "the connection was closed"),
    ("end of tcp stream", "the connection was closed"),
    ("eof", "the connection was closed"),
    ("cancelled", "the coordinator went away"),
)


def cause_in_words(details: str) -> str:
    """What gRPC says about a connection, in plain words; its own text where there are none."""
    lower = details.lower()
    return next((words for sign, words in _CAUSES if sign in lower), details.strip() or "no reason was given")
