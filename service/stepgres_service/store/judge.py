"""PostgreSQL as the judge of JSON: asked about the few texts that a quick parser refuses."""

from __future__ import annotations

import psycopg

from stepgres_service.store.pool import Database
from stepgres_service.store.queries import load_queries

_SQL = load_queries("tasks")
#: Data exceptions (not JSON), and program limits (nested too deeply for the server's stack).
_REFUSALS = ("22", "54")


class JsonJudge:
    """Asks the database whether a text is JSON.

    Args:
        database: the pool.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, data: bytes) -> str | None:
        """What is wrong with data; None when it is JSON.

        Args:
            data: UTF-8 without U+0000.

        Raises:
            Unavailable: the database is away.
        """
        async with self._database.connection() as conn:
            try:
                await conn.execute(_SQL["judge_json"], (data.decode(),))
            except psycopg.Error as error:
                if (error.sqlstate or "")[:2] not in _REFUSALS:
                    raise
                return error.diag.message_detail or error.diag.message_primary or "not JSON"
        return None
