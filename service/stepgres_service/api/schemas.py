"""JSON Schemas that workers send: each is judged once, however many workers send it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

import orjson
from jsonschema import FormatChecker, SchemaError
from jsonschema.validators import Draft202012Validator, validator_for

from stepgres_service.api.payloads import has_nul_escape
from stepgres_service.errors import Reason

#: Bytes of a schema, by the contract.
_MAX_BYTES = 64 << 10
#: Verdicts kept, some 200 bytes each.
_MAX_KNOWN = 20_000
_NO_FORMATS = FormatChecker(formats=())

#: What is wrong with a schema: the reason and the message without a path. None = nothing.
Fault = tuple[Reason, str] | None


class SchemaChecker:
    """Judges JSON Schemas and remembers its verdicts: a hundred workers with the same handlers cost one judgement."""

    def __init__(self) -> None:
        self._known: dict[bytes, Fault] = {}

    async def judged(self, schemas: Iterable[bytes]) -> dict[bytes, Fault]:
        """What is wrong with each of the schemas.

        Those not known yet are judged in a thread: a schema may take milliseconds, a Hello may have thousands.
        """
        keys = {schema: _hash(schema) for schema in schemas}
        faults = {schema: self._known[key] for schema, key in keys.items() if key in self._known}
        unknown = keys.keys() - faults.keys()
        if unknown:
            new = await asyncio.to_thread(lambda: {schema: judge(schema) for schema in unknown})
            if len(self._known) + len(new) > _MAX_KNOWN:
                self._known.clear()
            self._known.update((keys[schema], fault) for schema, fault in new.items())
            faults |= new
        return faults


def judge(schema: bytes) -> Fault:
    """What is wrong with the bytes of a schema."""
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
        # Without formats: patterns are those of ECMA-262, which Python's `re` knows in part.
        draft: Any = validator_for(value, default=Draft202012Validator)
        draft.check_schema(value, format_checker=_NO_FORMATS)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path)
        return Reason.FIELD_INVALID, f"is no valid JSON Schema: at /{where}: {error.message[:300]}; correct it"
    except RecursionError:
        return Reason.FIELD_INVALID, "is nested too deeply; flatten it with $defs"
    except Exception as error:  # noqa: BLE001  what the library trips over, such as a `$schema` that is no address
        return Reason.FIELD_INVALID, f"is no valid JSON Schema ({type(error).__name__}: {str(error)[:300]}); correct it"
    return None


def _hash(schema: bytes) -> bytes:
    return hashlib.sha256(schema).digest()
