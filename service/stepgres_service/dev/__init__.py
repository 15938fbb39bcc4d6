"""Embedded PostgreSQL for `stepgres dev`, the demo, the benchmark and the tests; never for production."""

from __future__ import annotations

from stepgres_service.dev.binaries import Binaries, find_binaries
from stepgres_service.dev.errors import EmbeddedPostgresError
from stepgres_service.dev.postgres import EmbeddedPostgres

__all__ = ["Binaries", "EmbeddedPostgres", "EmbeddedPostgresError", "find_binaries"]
