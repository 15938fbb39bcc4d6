"""The migration files: where they are, what their names mean, their checksums.

`0xxx_name.sql` is structure: applied once, in order, never edited once released.
`1xxx_fn_name.sql` is one SQL function: applied again whenever its text changes.
A structure file whose first line is `-- no-transaction` holds one statement and runs outside a transaction.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stepgres_service.errors import SetupError

_NAME = re.compile(r"^(?:0\d{3}_(?!fn_)|1\d{3}_fn_)[a-z][a-z0-9_]*\.sql$")


class Kind(StrEnum):
    """What a recorded migration is."""

    #: The message queue's own SQL or extension.
    PGMQ = "pgmq"
    #: Tables, types, indexes: applied once.
    STRUCTURE = "structure"
    #: One SQL function: applied when its text changes.
    FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One file of the migrations folder."""

    #: File name, such as `0001_schema.sql`; its identity in the database.
    name: str
    #: The SQL text.
    text: str

    @property
    def kind(self) -> Kind:
        """Structure or function, by the name's first digit."""
        return Kind.FUNCTION if self.name.startswith("1") else Kind.STRUCTURE

    @property
    def checksum(self) -> str:
        """sha256 of the text, in hex; line ends do not count."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """Whether the file runs inside a transaction."""
        return not self.text.startswith("-- no-transaction")


def migrations_folder() -> Path:
    """Return the folder of the checkout this program runs from, else the one packed into the wheel."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parents[1] / "migrations", package / "_migrations"):
        if any(folder.glob("0*.sql")):
            return folder
    raise SetupError(f"no migrations found beside {package}; install the stepgres package again.")


def load_files(folder: Path | None = None) -> list[MigrationFile]:
    """Read all migration files in the order they apply.

    Raises:
        SetupError: a name breaks the rule, or two files share a number.
    """
    folder = folder or migrations_folder()
    files = [MigrationFile(p.name, p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.sql"))]
    numbers: dict[str, str] = {}
    for file in files:
        if not _NAME.match(file.name):
            raise SetupError(f"{file.name}: a migration is named 0123_words.sql or 1123_fn_words.sql; rename it.")
        other = numbers.setdefault(file.name[:4], file.name)
        if other != file.name:
            raise SetupError(f"{file.name}: its number is taken by {other}; give it the next free one.")
    return files
