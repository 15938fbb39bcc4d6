"""A real PgBouncer in transaction mode in front of a database."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.pg_proxy import pg_proxy

#: Debian keeps it where only root looks.
PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))

_CONFIG = """
[databases]
* = host=127.0.0.1 port={behind} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
"""


@asynccontextmanager
async def pgbouncer(dsn: str, *, pool_size: int) -> AsyncIterator[str]:
    """Address of a database through PgBouncer, stopped at the end.

    Args:
        dsn: of the database.
        pool_size: connections to the server that all clients share.
    """
    assert PROGRAM is not None
    # Who may use the server's socket is told by its user, and PgBouncer refuses to be root: the proxy goes in its name.
    async with pg_proxy(dsn) as proxy:
        behind = conninfo_to_dict(proxy.dsn)
        with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
            Path(folder).chmod(0o755)
            config, port = Path(folder) / "pgbouncer.ini", _free_port()
            config.write_text(
                _CONFIG.format(behind=behind["port"], user=behind["user"], port=port, pool_size=pool_size)
            )
            config.chmod(0o644)
            as_nobody = ["-u", "nobody"] if os.getuid() == 0 else []
            process = await asyncio.create_subprocess_exec(
                PROGRAM, "-q", *as_nobody, str(config), stderr=asyncio.subprocess.DEVNULL
            )
            try:
                address = make_conninfo(proxy.dsn, port=port)
                await _answers(address)
                yield address
            finally:
                process.kill()
                await process.wait()


async def _answers(address: str) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(address):
                    return
            except psycopg.OperationalError:
                await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
