"""Runs a command until it ends, we are told to stop, or our standard input closes: a killed demo leaves no process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run it; returns its exit code."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())

    def watch() -> None:
        sys.stdin.buffer.read()
        child.terminate()

    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
