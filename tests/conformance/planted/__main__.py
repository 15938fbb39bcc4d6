"""The Python conformance worker with a fault: python -m tests.conformance.planted FAULT."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tests.conformance.planted import streams, tasks, values  # noqa: F401  their faults become known
from tests.conformance.planted.fault import FAULTS

_WORKER = Path(__file__).resolve().parents[3] / "worker_sdk" / "python" / "conformance" / "worker.py"


def main() -> None:
    FAULTS[sys.argv[1]]()
    spec = importlib.util.spec_from_file_location("conformance_worker", _WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()


if __name__ == "__main__":
    main()
