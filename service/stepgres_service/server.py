"""The composition root: puts the parts of a coordinator together, starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable
from uuid import uuid4

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from stepgres.v1 import flow_pb2, flow_pb2_grpc, run_pb2, run_pb2_grpc, worker_pb2, worker_pb2_grpc
from stepgres_service import log
from stepgres_service.api.convert_flows import FlowLimits
from stepgres_service.api.flow_servicer import FlowServicer
from stepgres_service.api.interceptors import RpcInterceptor
from stepgres_service.api.paging import PageTokens
from stepgres_service.api.payloads import JsonChecker
from stepgres_service.api.run_servicer import RunServicer
from stepgres_service.api.worker_servicer import WorkerServicer
from stepgres_service.config import Settings
from stepgres_service.engine.catalogue import Catalogue
from stepgres_service.engine.definitions import DefinitionCache
from stepgres_service.engine.flows import Definitions
from stepgres_service.engine.loop import Loop
from stepgres_service.engine.near_names import NearFlows
from stepgres_service.engine.plans import PlanChecker
from stepgres_service.engine.runs import Runs
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.engine.watch import WatchHub
from stepgres_service.engine.work import WorkEngine
from stepgres_service.errors import SetupError
from stepgres_service.store.catalogue import CatalogueStore
from stepgres_service.store.flows import FlowStore
from stepgres_service.store.judge import JsonJudge
from stepgres_service.store.migrate import Migrator
from stepgres_service.store.pool import Database
from stepgres_service.store.runs import RunStore
from stepgres_service.store.task_reads import TaskReads
from stepgres_service.store.tasks import PayloadLimits

_log = structlog.get_logger(__name__)

#: Objects made since the last collection that start the next one; Python's 700 would cost 5 % of a coordinator.
_GC_THRESHOLD = 50_000

_SERVICES = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (flow_pb2.DESCRIPTOR, "FlowService"),
        (run_pb2.DESCRIPTOR, "RunService"),
        (worker_pb2.DESCRIPTOR, "WorkerService"),
    )
)
_MESSAGE_BYTES = 20 << 20
#: Longest wait for the database to record what has come in, on the way out.
_FLUSH_S = 5.0


class Coordinator:
    """One coordinator: everything between a listening port and a database.

    Args:
        settings: what it is started with.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.coordinator_id = uuid4()
        #: The port it listens on; known after start().
        self.port = 0

    async def start(self) -> None:
        """Connects, checks the database, and serves.

        Raises:
            SetupError: the database is unfit, its schema is behind, or the address is taken.
            Unavailable: the database cannot be reached.
        """
        settings = self._settings
        self._database = Database(
            settings.database_url,
            direct_dsn=settings.listen_database_url,
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            prepare_threshold=settings.prepare_threshold,
        )
        try:
            await self._database.open()
            await asyncio.to_thread(Migrator(self._database.direct_dsn).check)
            self._compose()
            await self._listen()
        except BaseException:
            await self._database.close()
            raise
        self.engine.start()
        self._health_loop.start()
        _log.info("coordinator ready", address=f"{settings.host}:{self.port}", coordinator=str(self.coordinator_id))

    def _compose(self) -> None:
        settings, database = self._settings, self._database
        engine_settings = _engine_settings(settings)
        flows = FlowStore(database)
        cache = DefinitionCache(flows)
        store = RunStore(database, engine_settings.payloads)
        self._hub = WatchHub(store, max_watches=settings.max_watches)
        self.engine = WorkEngine(
            database, cache, flows, self.coordinator_id, engine_settings, self._hub, store.starting
        )
        self._runs = Runs(
            store,
            TaskReads(database),
            NearFlows(flows),
            self.engine.wake,
            self.engine.look_around,
            self.engine.runs_ended,
            self._hub.touch,
        )
        catalogue = Catalogue(CatalogueStore(database), asyncio.get_running_loop().time)
        definitions = Definitions(
            flows,
            catalogue,
            max_steps=settings.max_steps,
            max_dependencies=settings.max_dependencies,
            default_queue=settings.default_queue,
        )
        payloads = JsonChecker(JsonJudge(database))
        tokens = PageTokens(database)
        limits = FlowLimits(settings.max_params_bytes, settings.max_steps)
        log.hide_hang_ups()
        self._server = grpc.aio.server(
            interceptors=[RpcInterceptor()],
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Peers whose machine vanished are noticed though nothing is sent to them.
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                # Without it a ping is waited for a minute, whatever the timeout above says.
                ("grpc.http2.ping_timeout_ms", 10_000),
                # Two coordinators on one port would share its connections without saying so.
                ("grpc.so_reuseport", 0),
            ],
        )
        flow_pb2_grpc.add_FlowServiceServicer_to_server(
            FlowServicer(definitions, catalogue, tokens, limits), self._server
        )
        run_pb2_grpc.add_RunServiceServicer_to_server(
            RunServicer(
                self._runs,
                self._hub,
                catalogue,
                payloads,
                PlanChecker(max_steps=settings.max_steps, max_dependencies=settings.max_dependencies),
                tokens,
                max_input_bytes=settings.max_input_bytes,
                limits=limits,
            ),
            self._server,
        )
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(
            WorkerServicer(self.engine, payloads, str(self.coordinator_id)), self._server
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._health_loop = _Health(self._health, self.engine)
        if settings.reflection:
            reflection.enable_server_reflection(
                [*_SERVICES, reflection.SERVICE_NAME, health.SERVICE_NAME], self._server
            )

    async def _listen(self) -> None:
        try:
            self.port = self._server.add_insecure_port(self._settings.listen)
        except RuntimeError as error:
            raise SetupError(
                f"STEPGRES_LISTEN: {self._settings.listen} cannot be listened on ({error}); is it taken? Choose another"
            ) from error
        await self._server.start()

    async def drain(self) -> None:
        """Turns not-ready and lets the workers go elsewhere, for at most the drain time."""
        await self._health_loop.stop()
        await self._health.enter_graceful_shutdown()
        await self.engine.drain(self._settings.drain_s)

    async def stop(self, grace_s: float = 2.0) -> None:
        """Takes no more calls, records the results that have come in, ends what is open and closes.

        Args:
            grace_s: seconds for calls that are still under way once results are recorded.
        """
        await self._health_loop.stop()
        # First of all: what would begin now would meet parts that have stopped.
        closing = asyncio.create_task(self._server.stop(_FLUSH_S + grace_s))
        await self._hub.stop()
        await self._runs.stop(_FLUSH_S)
        await self.engine.stop(_FLUSH_S)
        await asyncio.wait({closing}, timeout=grace_s)
        await self._server.stop(None)
        await closing
        await self._database.close()
        _log.info("coordinator stopped", coordinator=str(self.coordinator_id))


class _Health(Loop):
    """Answers health checks from what the engine says of itself."""

    name = "health"

    def __init__(self, servicer: health.aio.HealthServicer, engine: WorkEngine) -> None:
        super().__init__()
        self._servicer = servicer
        self._engine = engine
        self._said: frozenset[str] | None = None

    async def run_once(self) -> float:
        """Sets every service's status; logs when it changes."""
        unhealthy = frozenset(self._engine.unhealthy())
        if unhealthy != self._said:
            if unhealthy or self._said:
                _log.warning("health changed", waiting_for_the_database=sorted(unhealthy))
            self._said = unhealthy
            status = health_pb2.HealthCheckResponse
            for service in ("", *_SERVICES):
                await self._servicer.set(service, status.NOT_SERVING if unhealthy else status.SERVING)
        return 1.0


def _engine_settings(settings: Settings) -> EngineSettings:
    return EngineSettings(
        lease_s=settings.lease_s,
        heartbeat_s=min(settings.heartbeat_s, settings.lease_s / 3),
        reconnect_grace_ms=settings.reconnect_grace_ms,
        max_lost_leases=settings.max_lost_leases,
        max_credits=settings.max_credits,
        max_streams=settings.max_streams,
        max_output_bytes=settings.max_output_bytes,
        max_held_bytes=settings.max_held_bytes,
        lanes=settings.lanes,
        poll_s=settings.poll_s,
        retention_s=settings.retention_s,
        payloads=PayloadLimits(
            max_map_output_bytes=settings.max_map_output_bytes,
            max_task_input_bytes=settings.max_task_input_bytes,
            max_items=settings.max_items,
        ),
    )


async def serve(settings: Settings, on_drain: Callable[[], None] | None = None) -> None:
    """Runs a coordinator until SIGTERM or SIGINT, then drains; a second signal stops at once.

    Args:
        settings: what it is started with.
        on_drain: called when the first signal comes.

    Raises:
        SetupError: it could not start; the message says what to do.
    """
    log.setup(settings)
    loop = asyncio.get_running_loop()
    asked, asked_again = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (asked_again if asked.is_set() else asked).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    coordinator = Coordinator(settings)
    await coordinator.start()
    # What exists by now lives as long as the process: the collector need not look at it again. What comes are batches
    # of short-lived objects without cycles, which reference counts free.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        await asked.wait()
        _log.info("draining; a second signal stops at once")
        if on_drain is not None:
            on_drain()
        drain = asyncio.create_task(coordinator.drain())
        hurry = asyncio.create_task(asked_again.wait())
        await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, hurry):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    finally:
        await coordinator.stop()
