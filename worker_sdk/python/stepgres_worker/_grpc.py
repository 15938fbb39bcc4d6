"""gRPC, imported here before anybody else in the SDK does: what it writes to standard error is set first.

Its C core prints notes on connections that end ("Got goaway …"), which the worker tells in its log in its own words.
It reads GRPC_VERBOSITY once, when it is first imported: a value that the user has set stays.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

__all__ = ["grpc"]
