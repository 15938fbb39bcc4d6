"""One small program per peer, each run by an environment of its own: setup, work, enqueue (see roles.py)."""

from __future__ import annotations
