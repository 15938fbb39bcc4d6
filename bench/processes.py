"""What processes and the database have used, read from the outside."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")
#: Backends report their counters once a second.
_STATISTICS_DELAY_S = 1.1


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time that processes and their children have used; those that have ended count as nothing."""
    return sum(_own_cpu_s(pid) for root in pids for pid in _tree(root))


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process has held, in MB (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no VmHWM")


def _own_cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # Its own time and that of the children it has waited for: a connection that ended is not forgotten.
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(grandchild for child in children for grandchild in _tree(int(child)))]


@dataclass(frozen=True)
class ServerCounters:
    """What the database server has done so far."""

    commits: int
    statements: int
    wal_bytes: int
    at: float

    @classmethod
    def read(cls, dsn: str) -> Self:
        """Reads the counters of the address's database, once all backends have reported theirs."""
        time.sleep(_STATISTICS_DELAY_S)
        with psycopg.connect(dsn, autocommit=True) as conn:
            row = conn.execute(
                "select pg_stat_get_db_xact_commit(oid),"
                " (select coalesce(sum(calls), 0) from pg_stat_statements),"
                " pg_current_wal_lsn() - '0/0' from pg_database where datname = current_database()"
            ).fetchone()
        assert row is not None
        return cls(int(row[0]), int(row[1]), int(row[2]), time.monotonic())
