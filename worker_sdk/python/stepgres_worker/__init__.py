"""The Python SDK of stepgres."""

from __future__ import annotations
