"""The conformance kit: judges a worker in any language from outside, by the rules of docs/protocol.md.

`stepgres conformance -- COMMAND` starts a database, a coordinator and a fault proxy of its own, and COMMAND as the worker
under test. What it expects of that command is docs/conformance.md.
"""

from __future__ import annotations
