"""The one error of the embedded server."""

from __future__ import annotations

from stepgres_service.errors import SetupError


class EmbeddedPostgresError(SetupError):
    """The embedded PostgreSQL could not be found, started or stopped; the message names the remedy."""
