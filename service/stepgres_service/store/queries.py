"""Loads the named queries of store/*.sql: `-- name --`, a purpose line, the query."""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- ([a-z0-9_]+) --$", re.MULTILINE)


def load_queries(noun: str) -> dict[str, bytes]:
    """Reads store/<noun>.sql.

    Returns:
        Query text by name, as bytes: psycopg takes bytes as a query that no value was formatted into.
    """
    text = resources.files("stepgres_service.store").joinpath(f"{noun}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    if parts[0].strip():
        raise ValueError(f"{noun}.sql: text before the first `-- name --`")
    return {name: body.strip().encode() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
