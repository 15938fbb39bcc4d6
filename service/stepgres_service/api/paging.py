"""Page tokens by AIP-158: opaque, bound to the request they were made for and to the database."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

import orjson
from google.protobuf.message import Message

from stepgres_service.errors import InvalidArgument, Reason, Violation
from stepgres_service.store.pool import Database


class PageTokens:
    """Makes and reads page tokens.

    Args:
        database: a token of another database, or of this one before a restore elsewhere, is refused.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self, request: Message, *position: str) -> str:
        """The token of the page behind a position.

        Args:
            request: the list's request; the next one must have the same filters.
            position: sort key of the last item.
        """
        return (
            base64.urlsafe_b64encode(orjson.dumps([self._binding(request, position), *position])).decode().rstrip("=")
        )

    def read(self, request: Message) -> tuple[str, ...] | None:
        """The position that the request's token stands for; None without a token.

        Raises:
            InvalidArgument: INVALID_PAGE_TOKEN.
        """
        token: str = request.page_token  # type: ignore[attr-defined]
        if not token:
            return None
        try:
            binding, *position = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except (binascii.Error, ValueError, TypeError):
            binding, position = "", []
        if not position or binding != self._binding(request, map(str, position)):
            raise InvalidArgument(
                Violation(
                    "page_token",
                    Reason.INVALID_PAGE_TOKEN,
                    f'"{token[:40]}" was not made by this list with these filters; send the next_page_token of the page '
                    "before with the same filters, or leave it empty",
                )
            )
        return tuple(str(part) for part in position)

    def _binding(self, request: Message, position: Iterable[str]) -> str:
        # The position is part of it: what nobody made never reaches a query.
        filters = type(request)()
        filters.CopyFrom(request)
        for field in {"page_token", "page_size", "view"} & set(request.DESCRIPTOR.fields_by_name):
            filters.ClearField(field)
        text = f"{self._database.system_id}|{request.DESCRIPTOR.full_name}|".encode()
        parts = orjson.dumps([*position]) + filters.SerializeToString(deterministic=True)
        return hashlib.sha256(text + parts).hexdigest()[:16]
