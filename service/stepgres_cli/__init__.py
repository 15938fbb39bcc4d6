"""The stepgres command line, a gRPC client like any other.

Only `commands/dev.py`, `commands/serve.py` and `commands/migrate.py` import the service; everything else talks gRPC
through stepgres_worker. Heavy modules are imported inside the functions that need them: `--version` and `--help` must
answer at once.
"""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Version of the installed distribution `stepgres`."""
    return metadata.version("stepgres")
