"""Ends that are no signal to us: a parent that died, a terminal that closed."""

from __future__ import annotations

import os
import signal
import sys
import threading


def stop_with_stdin() -> None:
    """Send this process SIGTERM when standard input closes: a parent that is killed cannot do it itself."""
    fd = sys.stdin.fileno()

    def wait() -> None:
        try:
            while os.read(fd, 4096):
                pass
        except OSError:  # it is closed already
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stepgres-lifeline", daemon=True).start()


def stop_with_terminal() -> None:
    """Treat the end of our terminal (SIGHUP) as SIGTERM: a clean stop."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))
