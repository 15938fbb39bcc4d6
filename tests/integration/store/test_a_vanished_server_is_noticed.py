"""What every connection asks of the network, since a server may vanish without a word."""

from __future__ import annotations

from psycopg.conninfo import make_conninfo

from stepgres_service.store.pool import Database


async def test_connections_of_every_kind_ask_for_signs_of_life(database: str) -> None:
    db = Database(database, min_size=1, max_size=1)
    await db.open()
    async with db.connection() as pooled:
        seen = [pooled.info.get_parameters()]
    for direct in (False, True):
        async with await db.connect(direct=direct) as own:
            seen.append(own.info.get_parameters())
    await db.close()
    for parameters in seen:
        probes = int(parameters["keepalives_idle"]) + 3 * int(parameters["keepalives_interval"])
        assert (probes, parameters["tcp_user_timeout"]) == (25, "25000")


async def test_what_the_address_says_wins(database: str) -> None:
    db = Database(make_conninfo(database, keepalives_idle=77), direct_dsn=make_conninfo(database, tcp_user_timeout=5))
    async with await db.connect() as own, await db.connect(direct=True) as direct:
        assert own.info.get_parameters()["keepalives_idle"] == "77"
        assert direct.info.get_parameters()["tcp_user_timeout"] == "5"
