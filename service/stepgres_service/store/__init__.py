"""The only package that speaks to PostgreSQL."""

from __future__ import annotations
