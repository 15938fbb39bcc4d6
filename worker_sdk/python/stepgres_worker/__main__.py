"""`python -m stepgres_worker MODULE:ATTR`: serves, where only this package is installed."""

from __future__ import annotations

import argparse
import logging
import sys

from ._processes import load_worker, run_processes


def main() -> int:
    """Reads the command line and serves until a signal; 2 for a wrong reference."""
    parser = argparse.ArgumentParser(prog="python -m stepgres_worker", description="Serve the handlers of a module.")
    parser.add_argument("reference", metavar="MODULE:ATTR", help="a Worker, a Flow, or a function that returns either")
    parser.add_argument("--processes", type=int, default=1, help="number of processes, 1 by default")
    parser.add_argument("--concurrency", type=int, help="most tasks at a time and process; the worker's own by default")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        worker = load_worker(options.reference, concurrency=options.concurrency)
    except (ValueError, ModuleNotFoundError, AttributeError) as error:
        parser.error(str(error))
    if options.processes > 1:
        return run_processes(options.reference, options.processes, concurrency=options.concurrency)
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
