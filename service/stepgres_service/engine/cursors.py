"""The cursor of a watch: which run, up to which revision, of which database. Opaque on the wire."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from uuid import UUID

from stepgres_service.errors import InvalidArgument, Reason, Violation

_CURSOR = struct.Struct(">B16sQ8s")
_VERSION = 1


def encode_cursor(run_id: UUID, revision: int, system_id: str) -> str:
    """Makes the cursor that goes on after a revision.

    Args:
        run_id: the watched run.
        revision: what the reader has seen.
        system_id: identity of the database: after a restore into another one the cursor is refused.
    """
    packed = _CURSOR.pack(_VERSION, run_id.bytes, revision, _system(system_id))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(cursor: str, run_id: UUID, system_id: str) -> int:
    """Reads the revision from a cursor.

    Raises:
        InvalidArgument: INVALID_CURSOR: it is none of ours, of another run, or of another database.
    """
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, run, revision, system = _CURSOR.unpack(data)
    except (ValueError, binascii.Error, struct.error):
        raise invalid_cursor("is not a cursor of WatchRun") from None
    if version != _VERSION:
        raise invalid_cursor("was made by another version of stepgres")
    if run != run_id.bytes:
        raise invalid_cursor(f"belongs to run {UUID(bytes=run)}")
    if system != _system(system_id):
        raise invalid_cursor("was made by another database")
    return int(revision)


def invalid_cursor(fault: str) -> InvalidArgument:
    """The cursor cannot be used for this watch."""
    return InvalidArgument(
        Violation(
            "cursor",
            Reason.INVALID_CURSOR,
            f"{fault}; send the cursor of the last frame as it came, or leave it empty to begin with a snapshot",
        )
    )


def _system(system_id: str) -> bytes:
    return hashlib.sha256(system_id.encode()).digest()[:8]
