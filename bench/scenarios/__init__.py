"""The scenarios, in the order in which they run: each a module with TARGETS and `run(effort, figures)`."""

from __future__ import annotations

from types import ModuleType

from bench.scenarios import backlog, diamond, history, latency, maps, matrix, paths, peers, quiet, sdks, soak, start

SCENARIOS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (diamond, paths, maps, latency, start, matrix, backlog, history, quiet, soak, sdks, peers)
}
