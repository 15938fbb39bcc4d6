"""raw: pgmq alone, send, read and delete, in batches, one connection: what the engine is held against."""

from __future__ import annotations

import time

import psycopg

_MESSAGE = '{"k": 1, "r": "01935b1e-0000-7000-8000-000000000000", "s": 0, "i": 0}'
_BATCHES = (100, 500)


def raw_pgmq(dsn: str, messages: int) -> float:
    """Messages per second through send_batch, read and delete, at the better of the batch sizes."""
    return max(_rate(dsn, batch, messages) for batch in _BATCHES)


def _rate(dsn: str, batch: int, messages: int) -> float:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("select pgmq.create('bench_raw')")
        payload = [_MESSAGE] * batch
        started = time.perf_counter()
        for _ in range(messages // batch):
            conn.execute("select pgmq.send_batch('bench_raw', %s::jsonb[])", (payload,))
            read = conn.execute("select msg_id from pgmq.read('bench_raw', 30, %s)", (batch,)).fetchall()
            conn.execute("select pgmq.delete('bench_raw', %s::bigint[])", ([row[0] for row in read],))
        rate = messages / (time.perf_counter() - started)
        conn.execute("select pgmq.drop_queue('bench_raw')")
    return rate
