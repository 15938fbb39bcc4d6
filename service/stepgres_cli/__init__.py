"""The stepgres command line, a gRPC client like any other."""

from __future__ import annotations
