"""What the flow computes, all of it in plain Python: the demo compares with it what three languages did."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

#: Plain JSON.
Text = dict[str, Any]

_SUFFIXES = {".md", ".txt", ".rst", ".proto", ".sql"}
_SKIPPED = {"node_modules", "__pycache__", "site-packages", "dist-packages", "dist", "build"}
#: The texts travel as one output, which may have 1 MiB.
_MOST_BYTES = 1_000_000
#: White space as Unicode has it; str.split() also splits at U+001C to U+001F.
_WORDS = re.compile("[^\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def read_texts(folder: str) -> list[Text]:
    """The texts (.md, .txt, .rst, .proto, .sql) below a folder in the order of their paths, as many as fit into one output.

    Hidden files, those that are not UTF-8 and those with U+0000 are left out.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: not a folder; name one that holds texts")
    texts: list[Text] = []
    size = 0
    for path in sorted(_paths(Path(folder))):
        try:
            text = {"path": path, "text": (Path(folder) / path).read_bytes().decode()}
        except (OSError, UnicodeDecodeError):
            continue
        size += len(json.dumps(text).encode()) + 1
        if size > _MOST_BYTES:
            break
        if "\0" not in text["text"]:
            texts.append(text)
    return texts


def _paths(folder: Path) -> list[str]:
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        inside = Path(here).relative_to(folder)
        found += [(inside / name).as_posix() for name in names if Path(name).suffix in _SUFFIXES and name[0] != "."]
    return found


def count(text: Text) -> Text:
    """What the Go worker does: lines, words, characters, and the longest word, the first of several."""
    content = text["text"]
    words = _WORDS.findall(content)
    return {
        "path": text["path"],
        "lines": content.count("\n") + (content != "" and not content.endswith("\n")),
        "words": len(words),
        "letters": len(content),
        "longest": max(words, key=len, default=""),
    }


def score(counts: Text) -> Text:
    """What the TypeScript worker does: characters per word in tenths, and a guess what kind of text it is."""
    density = 10 * counts["letters"] // max(1, counts["words"])
    if not counts["words"]:
        kind = "empty"
    elif counts["words"] < 3 * counts["lines"]:
        kind = "list"
    else:
        kind = "code" if density >= 75 or len(counts["longest"]) > 60 else "prose"
    return {**counts, "density": density, "kind": kind}


def summarise(scores: list[Text]) -> Text:
    """The report: totals, what is of which kind, the texts with most words, the longest word."""
    most = sorted(scores, key=lambda item: (-item["words"], item["path"]))[:8]
    longest = max(scores, key=lambda item: len(item["longest"]), default={"path": "", "longest": ""})
    return {
        "totals": {name: sum(item[name] for item in scores) for name in ("lines", "words", "letters")},
        "texts": len(scores),
        "kinds": {kind: sum(item["kind"] == kind for item in scores) for kind in ("prose", "code", "list", "empty")},
        "most_words": most,
        "longest": {"word": longest["longest"], "path": longest["path"]},
    }
