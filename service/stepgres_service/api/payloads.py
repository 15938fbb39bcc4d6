"""JSON at the edge: what comes in is checked once here and passed on byte for byte."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import orjson

from stepgres_service.errors import InvalidArgument, Reason, Violation

#: The escape \u0000: an odd number of backslashes before the u. After an even one it is the literal text `\u0000`.
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class JsonChecker:
    """Decides whether bytes are JSON that the database can hold.

    Args:
        judge: PostgreSQL's word on a text that orjson refuses (1e400, deep nesting, lone surrogates): None when it is
            JSON, else what is wrong with it.
    """

    def __init__(self, judge: Callable[[bytes], Awaitable[str | None]]) -> None:
        self._judge = judge

    @staticmethod
    def accepts(data: bytes, max_bytes: int) -> bool:
        """Whether data is plainly fine; False only says that `check` must look closer."""
        if len(data) > max_bytes or rb"\u0000" in data:
            return False
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        return True

    async def check(self, data: bytes, path: str, max_bytes: int) -> str:
        """The JSON text that data holds.

        Args:
            data: what came in; empty is not JSON.
            path: the field it came in, such as `requests[3].input`.
            max_bytes: most bytes it may have.

        Raises:
            InvalidArgument: PAYLOAD_TOO_LARGE, INVALID_UTF8, NUL_CHARACTER or INVALID_JSON.
            Unavailable: the judge was needed and is away.
        """
        if len(data) > max_bytes:
            raise _refusal(
                path,
                Reason.PAYLOAD_TOO_LARGE,
                f"has {len(data)} bytes, at most {max_bytes} are allowed; send a reference to it instead",
            )
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise _refusal(
                path,
                Reason.INVALID_UTF8,
                f"is not UTF-8 ({error.reason} at byte {error.start}); send JSON encoded as UTF-8",
            ) from None
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError as error:
            await self._ask(data, path, error)
        position = _nul_escape_at(data)
        if position is not None:
            raise _nul(path, position)
        return text

    async def _ask(self, data: bytes, path: str, error: orjson.JSONDecodeError) -> None:
        """Lets the judge decide what orjson refused."""
        if b"\x00" in data:
            # The database cannot even be asked: no text of it holds the character.
            raise _nul(path, data.index(b"\x00"))
        verdict = await self._judge(data)
        if verdict is not None:
            position = f"line {error.lineno} column {error.colno}" if data else "it is empty"
            raise _refusal(path, Reason.INVALID_JSON, f"is not JSON ({position}: {verdict}); send one JSON value")


def has_nul_escape(data: bytes) -> bool:
    r"""Whether a JSON text writes U+0000 as the escape \u0000; the literal text `\\u0000` is none."""
    return _nul_escape_at(data) is not None


def _nul_escape_at(data: bytes) -> int | None:
    # Bytes first: the search with conditions runs only where there is something to find.
    found = _NUL_ESCAPE.search(data) if rb"\u0000" in data else None
    return None if found is None else found.end() - len(rb"\u0000")


def _nul(path: str, position: int) -> InvalidArgument:
    return _refusal(
        path,
        Reason.NUL_CHARACTER,
        f"holds the character U+0000 at byte {position}, which PostgreSQL cannot store; remove it",
    )


def _refusal(path: str, reason: Reason, message: str) -> InvalidArgument:
    return InvalidArgument(Violation(path, reason, message))
