"""What the embedded server needs from the operating system: its environment, pid file, shutdown and watchdog."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stepgres_service.dev.errors import EmbeddedPostgresError

# $1 server pid, $2 its pid file, then folders to remove. `read` returns at the end of file: our death, or stop().
_WATCHDOG = """
trap '' INT TERM HUP
read -r _
ours() { [ ! -e "$2" ] || [ "$(head -n 1 "$2" 2>/dev/null)" = "$1" ]; }
# A dead server that nobody waits for, as in a container without an init, still has a number.
dead() { grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null; }
alive() { kill -0 "$1" 2>/dev/null && ! dead "$1" && ours "$@"; }
if alive "$@"; then kill -INT "$1"; fi
n=0
while alive "$@" && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
if alive "$@"; then kill -QUIT "$1"; sleep 1; fi
if alive "$@"; then kill -KILL "$1"; fi
shift 2
rm -rf "$@"
"""


def start_watchdog(pid: int, pid_file: Path, temporary: Sequence[Path]) -> subprocess.Popen[bytes]:
    """Start the process that stops the server and removes its temporary folders when our end of its pipe closes.

    A pipe and not PR_SET_PDEATHSIG: that one follows the thread that started the server, and knows Linux only.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "stepgres-watchdog", str(pid), str(pid_file), *map(str, temporary)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def server_environment() -> dict[str, str]:
    """The child's environment: no PG* variable of the caller may steer the server, and messages are in English."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory_folder() -> Path | None:
    """A folder that lives in memory and has 2 GiB of room; None where there is none (macOS, small containers)."""
    folder = Path("/dev/shm")  # noqa: S108
    if folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= 2 << 30:
        return folder
    return None


def is_ready(pgdata: Path, pid: int) -> bool:
    """Whether the server takes connections, by postmaster.pid: line 1 is the pid, line 8 the state ('ready', padded)."""
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def clear_stale_pid_file(pgdata: Path) -> None:
    """Remove a pid file whose server is gone, also when its number was given to another program since."""
    pid_file = pgdata / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    if _is_server_of(_command_line(pid), pgdata):
        raise EmbeddedPostgresError(
            f"data folder {pgdata.parent} is in use by the server with process id {pid}; stop that one first, "
            "or choose another data folder."
        )
    pid_file.unlink()


def _is_server_of(command: str, pgdata: Path) -> bool:
    """Whether this command line is a server of this folder; in doubt it is: a living server must keep its pid file."""
    if "postgres" not in command or command.startswith("postgres: "):  # children of a server carry such titles
        return False
    return str(pgdata) in command or " -D " not in command


def _command_line(pid: int) -> str:
    """The command line of a process; empty when there is none."""
    proc = Path(f"/proc/{pid}/cmdline")  # slim images have no ps
    if Path("/proc/self/cmdline").exists():
        try:
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    answer = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout


def stop_process(server: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Fast shutdown, then immediate, then kill; returns when the process is gone."""
    for number, patience in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 5.0), (signal.SIGKILL, None)):
        if server.poll() is not None:
            return
        server.send_signal(number)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
