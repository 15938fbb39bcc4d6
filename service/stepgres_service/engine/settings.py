"""Numbers that steer the engine, each with its unit and default."""

from __future__ import annotations

from dataclasses import dataclass, field

from stepgres_service.store.tasks import PayloadLimits


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of one coordinator's engine."""

    #: Seconds a session lives without a renewal.
    lease_s: float = 15.0
    #: Seconds between renewals, and the longest a worker may be silent without a Ping.
    heartbeat_s: float = 5.0
    #: Milliseconds a broken stream's leases wait by default, when Hello does not say.
    reconnect_grace_ms: int = 2000
    #: Lost leases a task survives; with the next one it fails.
    max_lost_leases: int = 5
    #: Credits and leases a session may have in all.
    max_credits: int = 10_000
    #: Streams this coordinator serves.
    max_streams: int = 1000
    #: Bytes of one output.
    max_output_bytes: int = 1 << 20
    #: Bytes of a frame.
    max_frame_bytes: int = 1 << 20
    #: Tasks or results in a frame.
    max_frame_items: int = 500
    #: Transactions under way at the same time.
    lanes: int = 2
    #: Results, and tasks, in one transaction.
    max_batch: int = 1000
    #: Bytes of task inputs leased in one transaction, by the running average.
    lease_bytes: int = 8 << 20
    #: Bytes of results that wait to be recorded; beyond, results are answered BUSY and come again later.
    max_held_bytes: int = 64 << 20
    #: Seconds between looks for work that no notification announced.
    poll_s: float = 5.0
    #: Seconds that a run is kept after its end; None = for ever.
    retention_s: float | None = None
    #: Sizes that the transitions enforce.
    payloads: PayloadLimits = field(default_factory=PayloadLimits)
