"""The coordinator's settings and its start, for `serve` and `dev`: the only doors to the service's composition root."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepgres_service.config import Settings


def load_settings(**given: Any) -> Settings:
    """The settings STEPGRES_*, with what was given on the command line (None = not given) in front."""
    from stepgres_service.config import Settings

    return Settings(**{name: value for name, value in given.items() if value is not None})


def serve_until_stopped(
    settings: Settings, on_ready: Callable[[], None] | None = None, on_drain: Callable[[], None] | None = None
) -> None:
    """Run a coordinator until SIGINT or SIGTERM.

    Args:
        settings: what it is started with; with `on_ready` its port is a certain one.
        on_ready: called once when it listens.
        on_drain: called when the first signal comes.
    """
    asyncio.run(_serve(settings, on_ready, on_drain))


async def _serve(settings: Settings, on_ready: Callable[[], None] | None, on_drain: Callable[[], None] | None) -> None:
    from stepgres_service.server import serve

    waiting = asyncio.create_task(_call_when_listening(settings.listen, on_ready)) if on_ready else None
    try:
        await serve(settings, on_drain)
    finally:
        if waiting is not None:
            waiting.cancel()


async def _call_when_listening(listen: str, on_ready: Callable[[], None]) -> None:
    host, _, port = listen.rpartition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            on_ready()
            return
