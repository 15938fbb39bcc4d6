"""Definitions over gRPC: checks, converts, and makes one call of the engine."""

# ruff: noqa: N802  the methods are named by the contract

from __future__ import annotations

from typing import Any

import grpc

from stepgres.v1 import flow_pb2, flow_pb2_grpc
from stepgres_service.api.convert_catalogue import handlers_to
from stepgres_service.api.convert_flows import (
    FlowLimits,
    flow_spec,
    flow_to,
    flows_to,
    step_spec,
    step_to,
    validation_to,
)
from stepgres_service.api.fields import Fields
from stepgres_service.api.paging import PageTokens
from stepgres_service.engine.catalogue import Catalogue
from stepgres_service.engine.flows import Definitions
from stepgres_service.errors import Reason

#: Flows on a page with their steps, and bytes of a page; with more it ends early, as the token says.
_MAX_FULL_PAGE = 50
_MAX_PAGE_BYTES = 8 << 20

_Context = grpc.aio.ServicerContext[Any, Any]


class FlowServicer(flow_pb2_grpc.FlowServiceServicer):
    """Serves FlowService.

    Args:
        definitions: use cases.
        catalogue: what is served now.
        tokens: makes and reads page tokens.
        limits: how large a definition may be.
    """

    def __init__(self, definitions: Definitions, catalogue: Catalogue, tokens: PageTokens, limits: FlowLimits) -> None:
        self._definitions = definitions
        self._catalogue = catalogue
        self._tokens = tokens
        self._limits = limits

    async def CreateFlow(self, request: flow_pb2.CreateFlowRequest, context: _Context) -> flow_pb2.CreateFlowResponse:
        """Creates a flow, or finds the version that equals it."""
        fields = Fields()
        spec = await flow_spec(request, fields, self._limits)
        flow, created = await self._definitions.create_flow(spec, new_version=request.new_version, found=fields.found)
        return flow_pb2.CreateFlowResponse(flow=flow_to(flow), created=created)

    async def ValidateFlow(
        self, request: flow_pb2.ValidateFlowRequest, context: _Context
    ) -> flow_pb2.ValidateFlowResponse:
        """Says what CreateFlow, or StartRun of a plan, would say, with fixes."""
        fields = Fields()
        spec = await flow_spec(request.flow, fields, self._limits, inline=request.inline)
        found = await self._definitions.validate_flow(spec, inline=request.inline, found=fields.found)
        return validation_to(found)

    async def AddStep(self, request: flow_pb2.AddStepRequest, context: _Context) -> flow_pb2.AddStepResponse:
        """Appends a step to the latest version."""
        fields = Fields()
        if not request.HasField("step"):
            fields.add("step", Reason.FIELD_REQUIRED, "is missing; send the step to add")
            fields.refuse()
        spec = step_spec(request.step, "step.", fields, self._limits.max_params_bytes)
        step, created, version = await self._definitions.add_step(request.flow, spec, found=fields.found)
        return flow_pb2.AddStepResponse(step=step_to(step), created=created, version=version)

    async def GetFlow(self, request: flow_pb2.GetFlowRequest, context: _Context) -> flow_pb2.GetFlowResponse:
        """Reads a version with its steps."""
        fields = Fields()
        slug = fields.flow("flow", request.flow, required=True)
        version = fields.not_negative("version", request.version)
        fields.refuse()
        flow, versions = await self._definitions.get_flow(slug, version)
        return flow_pb2.GetFlowResponse(flow=flow_to(flow), versions=versions)

    async def ListFlows(self, request: flow_pb2.ListFlowsRequest, context: _Context) -> flow_pb2.ListFlowsResponse:
        """Lists flows by slug."""
        fields = Fields()
        prefix = fields.text("slug_prefix", request.slug_prefix, 128)
        limit = fields.page_size(request.page_size)
        full = fields.full(request.view, default=False)
        fields.refuse()
        after = self._tokens.read(request)
        limit = min(limit, _MAX_FULL_PAGE) if full else limit
        # One more than asked for tells whether there is a next page.
        flows = await self._definitions.list_flows(prefix, after[0] if after else "", limit + 1, with_steps=full)
        page = flows_to(flows[:limit], _MAX_PAGE_BYTES)
        token = self._tokens.make(request, page[-1].slug) if len(flows) > len(page) else ""
        return flow_pb2.ListFlowsResponse(flows=page, next_page_token=token)

    async def DeleteFlow(self, request: flow_pb2.DeleteFlowRequest, context: _Context) -> flow_pb2.DeleteFlowResponse:
        """Deletes a flow with all its versions."""
        fields = Fields()
        slug = fields.slug("flow", request.flow, required=True)
        fields.refuse()
        cancelled = await self._definitions.delete_flow(slug, force=request.force)
        return flow_pb2.DeleteFlowResponse(cancelled_run_count=cancelled)

    async def ListHandlers(
        self, request: flow_pb2.ListHandlersRequest, context: _Context
    ) -> flow_pb2.ListHandlersResponse:
        """Lists the handlers that are served now."""
        fields = Fields()
        prefix = fields.text("name_prefix", request.name_prefix, 260)
        limit = fields.page_size(request.page_size)
        fields.refuse()
        after = self._tokens.read(request) or ("", "")
        handlers, more = await self._catalogue.list_handlers(prefix, (after[0], after[1]), limit)
        page = handlers_to(handlers)
        token = ""
        if more or len(page) < len(handlers):
            token = self._tokens.make(request, page[-1].name, page[-1].scope)
        return flow_pb2.ListHandlersResponse(handlers=page, next_page_token=token)
