"""Which operating system user runs the embedded server: PostgreSQL refuses root, so root steps down to somebody else.

Nobody's permissions are widened for that: a path the chosen user cannot reach is reported or avoided.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """The user that owns the data folder and runs the server."""

    name: str
    uid: int
    gid: int
    #: Whether we had to step down from root to become this user.
    dropped: bool

    def popen_options(self) -> dict[str, Any]:
        """Keyword arguments for subprocess that start a child as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.dropped else {}

    def own(self, path: Path, mode: int) -> None:
        """Hand an existing path of ours to this user with this mode."""
        if self.dropped:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)

    def can_enter(self, folder: Path) -> bool:
        """Whether this user can open files inside the folder, all its parents included."""
        if not self.dropped:
            return os.access(folder, os.X_OK)
        test = subprocess.run(
            ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)], cwd="/", capture_output=True, check=False,
            **self.popen_options(),
        )  # fmt: skip
        return test.returncode == 0


def choose_account(data_dir: Path) -> Account:
    """Return the user for this data folder: ourselves, or, for root, the first that can reach it.

    Root tries in this order: the owner of the folder or of its nearest existing parent, `postgres`, `_postgres`
    (macOS), `nobody`. If none reaches it the first is returned; `can_enter` tells.
    """
    if os.geteuid() != 0:
        me = pwd.getpwuid(os.geteuid())
        return Account(me.pw_name, me.pw_uid, me.pw_gid, dropped=False)
    existing = next(p for p in (data_dir, *data_dir.parents) if p.exists())
    accounts = list(_accounts_for_root(existing))
    if existing == data_dir and existing.stat().st_uid != 0:
        return accounts[0]
    return next((a for a in accounts if a.can_enter(existing)), accounts[0])


def _accounts_for_root(existing: Path) -> Iterator[Account]:
    owner = existing.stat().st_uid
    if owner != 0:
        with contextlib.suppress(KeyError):  # initdb needs a user with a name
            yield _account(pwd.getpwuid(owner))
    for name in ("postgres", "_postgres", "nobody"):
        try:
            yield _account(pwd.getpwnam(name))
        except KeyError:
            continue


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, dropped=True)
