"""What the demo computes: pure functions that know nothing of stepgres.

`list_files` finds the sources of a folder, `parse_file` reads one of them, `summarise` makes the report. The demo runs
them through the engine and once more without it, and compares.
"""

from __future__ import annotations

import ast
import os
import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

#: Facts about one file, or why it could not be parsed: plain JSON.
Facts = dict[str, Any]

_SKIPPED_FOLDERS = {"__pycache__", "site-packages", "dist-packages", "node_modules"}
# One file at a time in a process: the interpreter's lock allows no more, and the filter of warnings is the process's.
_parsing = threading.Lock()


def list_files(folder: str) -> list[str]:
    """Paths of all Python files below a folder, relative to it, sorted; caches, hidden and installed ones left out."""
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: not a folder; name one that holds Python files")
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        inside = Path(here).relative_to(folder)
        found += [(inside / name).as_posix() for name in names if name.endswith(".py") and not name.startswith(".")]
    return sorted(found)


def parse_file(folder: str, path: str) -> Facts:
    """Count what one file holds. A file that cannot be parsed is a fact about it, not a failure."""
    try:
        source = (Path(folder) / path).read_bytes()
    except OSError as error:
        return {"path": path, "error": type(error).__name__}
    facts: Facts = {"path": path, "lines": source.count(b"\n") + (source[-1:] not in {b"\n", b""})}
    try:
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources have odd escapes; they are not ours to mend
            nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {**facts, "error": type(error).__name__}
    functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
    classes = sum(isinstance(node, ast.ClassDef) for node in nodes)
    return {**facts, "functions": functions, "classes": classes, "imports": sorted(_imports(nodes))}


def _imports(nodes: list[ast.AST]) -> set[str]:
    """Top-level names of the modules that a file imports; imports relative to its own package do not count."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def summarise(files: list[Facts]) -> dict[str, Any]:
    """The report: totals, the largest files, the most imported modules, what could not be parsed."""
    parsed = [facts for facts in files if "error" not in facts]
    failed = [{"path": facts["path"], "error": facts["error"]} for facts in files if "error" in facts]
    imported = Counter(name for facts in parsed for name in facts["imports"])
    largest = sorted(files, key=lambda facts: (-facts.get("lines", 0), facts["path"]))[:10]
    return {
        "totals": {
            "files": len(files),
            "unparsed": len(failed),
            "lines": sum(facts.get("lines", 0) for facts in files),
            "functions": sum(facts["functions"] for facts in parsed),
            "classes": sum(facts["classes"] for facts in parsed),
        },
        "largest_files": [{"path": facts["path"], "lines": facts.get("lines", 0)} for facts in largest],
        "most_imported": [
            {"module": name, "files": count}
            for name, count in sorted(imported.items(), key=lambda item: (-item[1], item[0]))[:10]
        ],
        "unparsed": failed,
    }
