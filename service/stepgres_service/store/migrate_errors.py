"""Why a database is not fit for this program; raised by migrate and at the start of a coordinator."""

from __future__ import annotations

from stepgres_service.errors import SetupError


class SchemaBehind(SetupError):
    """The database lacks migrations that this program needs; run `stepgres migrate up`."""


class SchemaAhead(SetupError):
    """The database was migrated by a newer stepgres than this one; update this program."""


class SchemaDrift(SetupError):
    """A structure file differs from the one that was applied."""


class ForeignSchema(SetupError):
    """The schema pgflow of this database was made by another project."""


class UnfitServer(SetupError):
    """The server is too old, a standby, or its pgmq cannot be used."""


class MigrationFailed(SetupError):
    """A migration file was refused by the server; nothing of that file was kept."""


class MigrateBusy(SetupError):
    """Another migrate holds the lock of this database."""
