"""Carries the SQL of /migrations inside the wheel as `stepgres_service/_migrations`.

An editable install gets no copy (it would go stale): there the runner reads the checkout's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MigrationsHook(BuildHookInterface[Any]):
    """Adds the migrations to wheel and source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the folder to carry: the checkout's, or the one a source distribution brought along."""
        if version == "editable":
            return
        root = Path(self.root)
        folder = next(p for p in (root / "migrations", root.parent / "migrations") if p.is_dir())
        target = "migrations" if self.target_name == "sdist" else "stepgres_service/_migrations"
        build_data["force_include"][str(folder)] = target
