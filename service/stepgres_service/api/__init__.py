"""Thin gRPC servicers over the engine."""

from __future__ import annotations
