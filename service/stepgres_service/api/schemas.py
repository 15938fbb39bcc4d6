"""JSON Schemas that workers send: each is judged once, however many workers send it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable

import orjson
from jsonschema import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for

from stepgres_service.api.payloads import has_nul_escape
from stepgres_service.errors import Reason

#: Bytes of a schema, by the contract.
_MAX_BYTES = 64 << 10
#: Verdicts kept, some 200 bytes each.
_MAX_KNOWN = 20_000

#: What is wrong with a schema: the reason and the message without a path. None = nothing.
Fault = tuple[Reason, str] | None


class SchemaChecker:
    """Judges JSON Schemas and remembers its verdicts: a hundred workers with the same handlers cost one judgement."""

    def __init__(self) -> None:
        self._known: dict[bytes, Fault] = {}

    async def learn(self, schemas: Iterable[bytes]) -> None:
        """Judges what is not known yet, in a thread: a schema may take milliseconds, a Hello may have thousands."""
        unknown = {schema for schema in schemas if _hash(schema) not in self._known}
        if unknown:
            if len(self._known) + len(unknown) > _MAX_KNOWN:
                self._known.clear()
            self._known |= await asyncio.to_thread(lambda: {_hash(schema): judge(schema) for schema in unknown})

    def fault(self, schema: bytes) -> Fault:
        """What is wrong with a schema that was learned; others are judged here and now."""
        key = _hash(schema)
        return self._known[key] if key in self._known else judge(schema)


def judge(schema: bytes) -> Fault:
    """What is wrong with the bytes of a schema; empty bytes are none, and right."""
    if not schema:
        return None
    if len(schema) > _MAX_BYTES:
        return Reason.PAYLOAD_TOO_LARGE, f"{len(schema)} bytes, at most {_MAX_BYTES} are allowed; shorten it"
    if b"\x00" in schema or has_nul_escape(schema):
        return Reason.NUL_CHARACTER, "holds the character U+0000; remove it"
    try:
        value = orjson.loads(schema)
    except orjson.JSONDecodeError as error:
        return Reason.INVALID_JSON, f"is not JSON ({error}); send a JSON Schema, or leave it empty"
    if not isinstance(value, dict):
        return Reason.FIELD_INVALID, f"is no JSON object but {schema[:40].decode()}; send a JSON Schema"
    try:
        # By the draft that `$schema` names; the newest where it names none, or none that is known.
        validator_for(value, default=Draft202012Validator).check_schema(value)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path)
        return Reason.FIELD_INVALID, f"is no valid JSON Schema: at /{where}: {error.message[:300]}; correct it"
    except RecursionError:
        return Reason.FIELD_INVALID, "is nested too deeply; flatten it with $defs"
    return None


def _hash(schema: bytes) -> bytes:
    return hashlib.sha256(schema).digest()
