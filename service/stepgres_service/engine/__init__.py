"""Use cases, dispatch and background loops."""

from __future__ import annotations
