"""`make conformance`: judge the worker of every SDK whose toolchain is there; a missing one is skipped, visibly.

python -m scripts.conformance [SDK ...] [-- OPTION ...]: only these SDKs, and options of `stepgres conformance`. Ends with
one JSON object on a line, {"python": {"passed": n, "failed": n, "skipped": n}, …}; an SDK that was not judged has only
{"not_judged": why}. Exit code 1 when a point failed, or a worker could not be built or judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.sdk_workers import WORKERS, Missing

_ROOT = Path(__file__).resolve().parents[1]


def judge(command: list[str], options: list[str], report: Path) -> dict[str, object]:
    """Runs the kit, whose table goes to our standard output."""
    kit = [sys.executable, "-m", "stepgres_cli", "conformance", "--report", str(report), *options, "--", *command]
    code = subprocess.run(kit, check=False).returncode
    if not report.exists():
        return {"not_judged": f"the kit ended with {code}", "failed": 1}
    found = json.loads(report.read_text())
    return {name: found[name] for name in ("passed", "failed", "skipped")}


def main() -> int:
    """Judges the SDKs that are named, or all."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    names, options = words[:cut] or list(WORKERS), words[cut + 1 :]
    if unknown := [name for name in names if name not in WORKERS]:
        print(f"{unknown[0]}: there is no such SDK; choose from {', '.join(WORKERS)}", file=sys.stderr)
        return 2
    answer: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="stepgres-conformance-") as name:
        folder = Path(name)
        for sdk in names:
            print(f"== {sdk}", flush=True)
            try:
                answer[sdk] = judge(WORKERS[sdk](folder), options, folder / f"{sdk}.json")
            except Missing as missing:
                print(f"SKIPPED: {missing}", flush=True)
                answer[sdk] = {"not_judged": str(missing)}
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"FAILED: the worker cannot be built: {error}", flush=True)
                answer[sdk] = {"not_judged": "the worker cannot be built", "failed": 1}
    print(json.dumps(answer))
    return 1 if any(found.get("failed") for found in answer.values()) else 0


if __name__ == "__main__":
    os.chdir(_ROOT)
    sys.exit(main())
