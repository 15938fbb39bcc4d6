"""The coordinator's settings and its start, for `serve` and `dev`: the only doors to the service's composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepgres_service.config import Settings


def load_settings(**given: Any) -> Settings:
    """The settings STEPGRES_*, with what was given on the command line (None = not given) in front."""
    from stepgres_service.config import Settings

    return Settings(**{name: value for name, value in given.items() if value is not None})


def serve_until_stopped(settings: Settings) -> None:
    """Run a coordinator until SIGINT or SIGTERM."""
    import asyncio

    from stepgres_service.server import serve

    asyncio.run(serve(settings))
