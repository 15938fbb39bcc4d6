"""The command line that all peers share. Only the standard library: it runs in each peer's own environment.

python -m bench.peers.roles PEER about                   tell package, version and settings
python -m bench.peers.roles PEER setup ADDRESS           make the peer's schema in an empty database
python -m bench.peers.roles PEER work ADDRESS            say `ready`, serve until SIGTERM
python -m bench.peers.roles PEER enqueue ADDRESS COUNT   say `ready`, wait for a line, hand in COUNT, say `done`
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import signal
import sys

#: Where the benchmark listens; what a peer's own code prints goes to its log instead.
_TOLD = sys.__stdout__
sys.stdout = sys.stderr


def say(word: str) -> None:
    """Tells the benchmark where this process is."""
    print(word, file=_TOLD, flush=True)


async def until_terminated() -> None:
    """Waits for SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    say("ready")
    await stop.wait()


async def go() -> None:
    """Says that all is set up, and waits for the start signal."""
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)


def _main() -> None:
    peer, role, *rest = sys.argv[1:]
    module = importlib.import_module(f"bench.peers.{peer}")
    if role == "about":
        say(f"{module.PACKAGE} {importlib.metadata.version(module.PACKAGE)}: {module.ABOUT}")
    else:
        address, *count = rest
        asyncio.run(getattr(module, role)(address, *map(int, count)))


if __name__ == "__main__":
    _main()
