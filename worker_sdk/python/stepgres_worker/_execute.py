"""`client.execute`: a run whose tasks are served by the caller's own process."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._errors import MissingHandlers
from ._flow import Flow
from ._hints import did_you_mean
from ._models import RunSpec
from ._plans import inline_plan, inline_plan_info
from ._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._client import AsyncClient
    from ._flow import Step
    from ._models import FlowInfo
    from ._transport import Transport

Functions = dict[str, "Callable[..., Any]"]


def scope_of(flow: str, key: str | None) -> str:
    """A scope of its own for a run: random, or derived from the key so that a second caller serves the same run."""
    if key is None:
        return f"execute-{secrets.token_hex(16)}"
    digest = hashlib.sha256("\n".join((flow, key)).encode()).hexdigest()
    return f"execute-{digest[:32]}"


def handlers_of(info: FlowInfo, functions: Mapping[str, Callable[..., Any]]) -> Functions:
    """Functions by handler name, for every step of a stored flow.

    Raises:
        MissingHandlers: a step has none.
        ValueError: a function belongs to no step, or two steps share a handler and got different functions.
    """
    known = {name for step in info.steps for name in (step.slug, step.handler)}
    unknown = [name for name in functions if name not in known]
    if unknown:
        names = ", ".join(step.slug for step in info.steps)
        guess = did_you_mean(unknown[0], known)
        raise ValueError(
            f"step_functions: flow {info.slug} has no step {', '.join(unknown)}; its steps are {names}{guess}"
        )
    missing = [step.slug for step in info.steps if step.slug not in functions and step.handler not in functions]
    if missing:
        raise MissingHandlers(info.slug, missing)
    handlers: Functions = {}
    for step in info.steps:
        function = functions.get(step.slug) or functions[step.handler]
        if handlers.setdefault(step.handler, function) is not function:
            raise ValueError(
                f"step_functions: several steps share the handler {step.handler} and got different functions; "
                f"give one under {step.handler!r}"
            )
    return handlers


async def execute(
    client: AsyncClient,
    transport: Transport,
    flow: str | Flow | Mapping[str, Any] | Iterable[Step],
    value: Any,
    step_functions: Mapping[str, Callable[..., Any]],
    *,
    key: str | None,
    timeout_s: float | None,
) -> Any:
    """See `AsyncClient.execute`."""
    functions = dict(step_functions)
    slug = "(inline plan)"
    try:
        async with asyncio.timeout(timeout_s) as limit:
            if isinstance(flow, str | Flow):
                slug = flow.slug if isinstance(flow, Flow) else flow
                if isinstance(flow, Flow):
                    await client.register(flow)
                    functions = {**flow.functions, **functions}
                info = await client.get_flow(slug)
                spec = RunSpec(slug, value, info.version, key, scope_of(slug, key))
            else:
                # Steps that come one by one are gone when they are looked at a second time.
                plan = tuple(flow) if isinstance(flow, Iterator) else flow
                info = inline_plan_info(inline_plan(plan))
                # The keys of plans are those of all plans, and no flow has this name.
                spec = RunSpec("", value, 0, key, scope_of("plan:", key), plan)
            return await _serve_one(client, transport, info, handlers_of(info, functions), spec)
    except TimeoutError as error:
        if not limit.expired():  # the deadline of a call, not ours
            raise
        raise TimeoutError(f"flow {slug}: not finished within {timeout_s} s; its run goes on") from error


async def _serve_one(
    client: AsyncClient, transport: Transport, info: FlowInfo, handlers: Functions, spec: RunSpec
) -> Any:
    run = await client.start_run(
        spec.flow,
        spec.input,
        plan=spec.plan,
        version=spec.version,
        idempotency_key=spec.idempotency_key,
        scope=spec.scope,
    )
    result = asyncio.ensure_future(run.result())
    if not handlers:  # a flow without steps ends by itself
        return await result
    worker = Worker(transport=transport, scope=spec.scope, name=f"execute {info.slug}")
    worker._attempts.learn(replace(info, slug=run.flow or info.slug))  # noqa: SLF001 the log then says how many attempts there are
    for name, function in handlers.items():
        worker.step(name)(function)
    serving = asyncio.create_task(worker.serve())
    try:
        # A worker only ends first when it failed.
        await asyncio.wait({result, serving}, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            serving.result()
        return await result
    finally:
        result.cancel()
        worker.stop(now=True)
        await asyncio.gather(result, serving, return_exceptions=True)
