"""`python -m stepgres_cli`, the same as `stepgres`."""

from __future__ import annotations

from stepgres_cli.main import main

main()
