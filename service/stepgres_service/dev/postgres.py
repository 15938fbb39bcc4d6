"""The life cycle of an embedded PostgreSQL server: initdb, start, stop, and no process left whatever happens.

The server is our child in a session of its own, so that Ctrl-C reaches it only through `stop()`. Beside it runs a
watchdog, one `sh` that waits on a pipe from us: when we die in any way, kill -9 included, the pipe closes, and the
watchdog shuts the server down and removes the socket folder.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from stepgres_service.dev.account import Account, choose_account
from stepgres_service.dev.binaries import Binaries, find_binaries
from stepgres_service.dev.errors import EmbeddedPostgresError
from stepgres_service.dev.process import (
    clear_stale_pid_file,
    free_port,
    is_ready,
    memory_folder,
    server_environment,
    start_watchdog,
    stop_process,
)

#: The role that owns everything in the embedded server; a superuser of that server only.
ROLE = "stepgres"

_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_permissions": "0700",
}
# What a crash of the machine would punish: for tests only.
_FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "128MB"}


class EmbeddedPostgres:
    """One embedded server; a context manager that starts and stops it. Blocking: use asyncio.to_thread in async code.

    Args:
        data_dir: folder of the cluster, made at need and kept; holds `pgdata`, `postgres.log` and, with a port,
            `password`. None = ephemeral: a temporary folder, gone after stop().
        ephemeral: remove data_dir after stop(), even if the process dies; None = only when data_dir is None. When root
            must step down to a user that cannot reach an ephemeral data_dir, it is placed in the socket folder instead.
        port: also listen on 127.0.0.1 at this port with a password; 0 = a free port; None = unix socket only.
        durable: keep fsync, full_page_writes and synchronous_commit on. False is for tests.
        bin_dir: folder of the server's programs; None searches (see find_binaries).
        settings: further server settings, such as {"log_statement": "all"}.
        start_timeout_s: seconds for initdb and for the server to become ready, each.
        stop_timeout_s: seconds for the fast shutdown before an immediate one, and then a kill.
    """

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        ephemeral: bool | None = None,
        port: int | None = None,
        durable: bool = True,
        bin_dir: Path | str | None = None,
        settings: Mapping[str, str] | None = None,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 30.0,
    ) -> None:
        self._wanted_dir = Path(data_dir).resolve() if data_dir is not None else None
        self.ephemeral = self._wanted_dir is None if ephemeral is None else ephemeral
        self.port = port
        self.durable = durable
        self._bin_dir = bin_dir
        self._extra = dict(settings or {})
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        #: Folder of the unix socket, mode 0700; set by start().
        self.socket_dir = Path()
        #: Folder of the cluster; set by start().
        self.data_dir = Path()

    # ------------------------------------------------------------------------------------------------ addresses

    def dsn(self, database: str = ROLE) -> str:
        """Address over the unix socket; the operating system vouches for the user, there is no password."""
        port = f"&port={self.port}" if self.port else ""
        return f"postgresql://{ROLE}@/{quote(database)}?host={quote(str(self.socket_dir), safe='')}{port}"

    def tcp_dsn(self, database: str = ROLE) -> str:
        """Address over 127.0.0.1, with the password; needs `port`."""
        if self.port is None:
            raise EmbeddedPostgresError("the server listens on its unix socket only; start it with port=0.")
        password = (self.data_dir / "password").read_text()
        return f"postgresql://{ROLE}:{password}@127.0.0.1:{self.port}/{quote(database)}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server; None when it is not running."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    # ----------------------------------------------------------------------------------------------- life cycle

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Self:
        """Make the cluster if there is none, start the server, and wait until it takes connections.

        Raises:
            EmbeddedPostgresError: no programs, no access, in use by another server, or not ready in time.
        """
        if self._server is not None:
            raise EmbeddedPostgresError("this server was started already.")
        try:
            self._prepare_and_launch()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server (fast, then immediate, then kill) and remove what is temporary; does nothing twice."""
        server, watchdog = self._server, self._watchdog
        self._server = self._watchdog = None
        if server is not None:
            stop_process(server, self._stop_timeout_s)
        if watchdog is not None and watchdog.stdin is not None:
            watchdog.stdin.close()
            watchdog.wait()
        if self.socket_dir != Path():
            shutil.rmtree(self.socket_dir, ignore_errors=True)
        if self.ephemeral and self.data_dir != Path():
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def _prepare_and_launch(self) -> None:
        account = self._place()
        pgdata = self.data_dir / "pgdata"
        fresh = not (pgdata / "PG_VERSION").exists()
        major = None if fresh else int((pgdata / "PG_VERSION").read_text())
        binaries = self._reachable(find_binaries(self._bin_dir, major=major), account)
        if fresh:
            self._initdb(binaries, account, pgdata)
        clear_stale_pid_file(pgdata)
        self._write_access_rules(pgdata, account)
        self._launch(binaries, account, pgdata)
        self._wait_until_ready(pgdata)
        self._after_start()

    def _place(self) -> Account:
        """Choose the user, make the socket folder and the data folder, both 0700 and the user's own."""
        # /tmp and not TMPDIR: a socket's path has room for 100 bytes, and other users must reach it.
        self.socket_dir = Path(tempfile.mkdtemp(prefix="stepgres-", dir="/tmp"))
        wanted = self._wanted_dir or self._ephemeral_dir()
        account = choose_account(wanted)
        account.own(self.socket_dir, 0o700)
        parent = next(p for p in wanted.parents if p.exists())
        if not account.can_enter(parent):
            if not self.ephemeral:
                raise EmbeddedPostgresError(
                    f"data folder {wanted}: PostgreSQL refuses to run as root, and the user {account.name!r} that would "
                    f"run it cannot enter {parent}; choose a data folder outside it, such as /var/lib/stepgres, "
                    "or start as a normal user."
                )
            wanted = self.socket_dir / "data"
        wanted.mkdir(parents=True, exist_ok=True)
        account.own(wanted, 0o700)
        self.data_dir = wanted
        return account

    def _ephemeral_dir(self) -> Path:
        """In memory when nothing durable was asked for and there is room, else in the socket folder.

        A cluster has a thousand files, and making them is what a clone of a database costs: 20 ms in memory, up to
        half a second on a slow disk.
        """
        memory = None if self.durable else memory_folder()
        return memory / self.socket_dir.name if memory else self.socket_dir / "data"

    def _reachable(self, binaries: Binaries, account: Account) -> Binaries:
        """The same programs, copied into the socket folder if the user cannot enter theirs (a venv under /root)."""
        if account.can_enter(binaries.bin_dir):
            return binaries
        return binaries.copy_to(self.socket_dir / "programs")

    def _initdb(self, binaries: Binaries, account: Account, pgdata: Path) -> None:
        if pgdata.exists():  # left by an initdb that was killed
            shutil.rmtree(pgdata)
        secret = self.data_dir / "password"
        secret.unlink(missing_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(24))
        account.own(secret, 0o600)
        command = [
            str(binaries.bin_dir / "initdb"), "--pgdata", str(pgdata), "--username", ROLE, "--encoding", "UTF8",
            "--no-locale", "--auth-local=peer", "--auth-host=scram-sha-256", "--pwfile", str(secret),
        ]  # fmt: skip
        if not self.durable:
            command.append("--no-sync")
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, cwd="/", timeout=self._start_timeout_s, check=False,
                env=server_environment(), **account.popen_options(),
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise EmbeddedPostgresError(f"initdb took longer than {self._start_timeout_s:g} s.") from late
        if answer.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed: {answer.stderr.strip() or answer.stdout.strip()}")

    def _write_access_rules(self, pgdata: Path, account: Account) -> None:
        """Local: the caller's own user, by peer; TCP: the password. Written at each start, callers may differ."""
        caller = pwd.getpwuid(os.geteuid()).pw_name
        (pgdata / "pg_ident.conf").write_text("".join(f"stepgres {n} {ROLE}\n" for n in {caller, account.name}))
        (pgdata / "pg_hba.conf").write_text(
            "local all all peer map=stepgres\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

    def _launch(self, binaries: Binaries, account: Account, pgdata: Path) -> None:
        if self.port == 0:
            self.port = free_port()
        settings = {
            **_SETTINGS,
            **({} if self.durable else _FAST_SETTINGS),
            "unix_socket_directories": str(self.socket_dir),
            "listen_addresses": "" if self.port is None else "127.0.0.1",
            **self._extra,
        }
        command = [str(binaries.bin_dir / "postgres"), "-D", str(pgdata)]
        # The port names the socket file: the default one keeps addresses short, folders keep servers apart.
        command += ["-p", str(self.port or 5432)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.data_dir / "postgres.log").open("wb") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                env=server_environment(), **account.popen_options(),
            )  # fmt: skip
        temporary = [self.socket_dir, *([self.data_dir] if self.ephemeral else [])]
        self._watchdog = start_watchdog(self._server.pid, pgdata / "postmaster.pid", temporary)

    def _wait_until_ready(self, pgdata: Path) -> None:
        assert self._server is not None
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if self._server.poll() is not None:
                raise EmbeddedPostgresError(f"PostgreSQL ended while starting: {self._log_tail()}")
            if is_ready(pgdata, self._server.pid):
                return
            time.sleep(0.02)
        raise EmbeddedPostgresError(
            f"PostgreSQL was not ready after {self._start_timeout_s:g} s; give start_timeout_s more, or read "
            f"its log: {self._log_tail()}"
        )

    def _after_start(self) -> None:
        """Make the database that dsn() names."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as conn:
            found = conn.execute("select 1 from pg_database where datname = %s", [ROLE]).fetchone()
            if found is None:
                conn.execute(sql.SQL("create database {}").format(sql.Identifier(ROLE)))

    def _log_tail(self) -> str:
        try:
            return " | ".join((self.data_dir / "postgres.log").read_text(errors="replace").splitlines()[-5:])
        except OSError:
            return "(no log)"
