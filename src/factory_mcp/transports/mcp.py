"""MCP: one low-level SDK Server over the services, for stdio, Streamable HTTP and SSE alike."""

import difflib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import mcp_types as t
from mcp import MCPError
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from factory_mcp import __version__
from factory_mcp.domain.arguments import check
from factory_mcp.domain.errors import FactoryError, Refused, UnknownContext, UnknownRun
from factory_mcp.domain.model import LOCAL, Envelope, Json, Principal, Status
from factory_mcp.domain.profile import Profile, patience, profile_for
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.domain.tools import (
    CANCEL,
    OUTPUT_SCHEMA,
    READ,
    SEARCH,
    WAIT,
    WRITE,
    Tool,
    droid_tool,
)
from factory_mcp.domain.wording import refusal
from factory_mcp.services.calls import CallService, request_of
from factory_mcp.services.contexts import ContextService
from factory_mcp.telemetry import log
from factory_mcp.transports.resources import Resources
from factory_mcp.transports.shape import shaped

INSTRUCTIONS: Final = (
    "Factory AI's droids as tools. Give a droid a task and everything it needs to know. A result "
    "that begins with RUNNING is collected with droid_wait; never repeat the call. One that begins "
    "with HANDOFF is yours to carry on: do its steps, then call context_write with its run_id."
)
TIMED_OUT: Final = ("timeout", "timed out", "time out", "deadline", "-32001")
"""Words in the reason of a cancel that a client's own timer sent: they end the wait only."""
REMEMBERED: Final = 1000

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One call of a tool, its arguments checked."""

    principal: Principal
    arguments: Json
    profile: Profile
    call_id: str | None
    watch: "_Waiter"

    @property
    def wait_s(self) -> float:
        """How long it may wait."""
        given = self.arguments.get("wait_s")
        return patience(self.profile, wait_s=given, has_progress=self.watch.has_progress)


Handler = Callable[[Inbound], Awaitable[Envelope]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tool and what answers it."""

    tool: Tool
    handler: Handler


@dataclass(slots=True)
class _Waiter:
    """A request that waits for a run: it carries progress to the client."""

    ctx: Context
    key: tuple[str, Any]
    waiting: "Waiting"
    has_progress: bool
    last: float = field(default=-1)

    def opened(self, run_id: str) -> None:
        self.waiting.add(self.key, run_id)

    async def told(self, doing: str, seconds: float) -> None:
        if seconds > self.last:  # progress must rise; without a token this goes nowhere
            self.last = seconds
            message = f"{doing}, {seconds:.0f} s"
            await self.ctx.session.report_progress(round(seconds, 1), None, message)


class Waiting:
    """Which requests wait for which runs, so that a client's cancel finds its run.

    A request that was answered is forgotten: a late cancel for it is nobody's.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, Any], str] = OrderedDict()

    def add(self, key: tuple[str, Any], run_id: str) -> None:
        """This request waits for that run."""
        self._runs[key] = run_id
        while len(self._runs) > REMEMBERED:
            self._runs.popitem(last=False)

    def forget(self, key: tuple[str, Any]) -> str | None:
        """The run the request waited for, if it still does."""
        return self._runs.pop(key, None)


class McpFace:
    """The handlers of the server.

    Args:
        calls: Runs of droids.
        contexts: Shared context.
        specs: The droids.
        context_key: The default workspace's key of context chains.
        client: The client's name, where the configuration says more than the client.
    """

    def __init__(
        self,
        calls: CallService,
        contexts: ContextService,
        specs: tuple[DroidSpec, ...],
        context_key: Callable[[Principal], Awaitable[str]],
        client: str | None = None,
    ) -> None:
        self._calls, self._contexts, self._key = calls, contexts, context_key
        self._client = client
        self._waiting = Waiting()
        self.resources = Resources(calls, contexts, specs)
        self.rows: dict[str, Row] = {
            row.tool.name: row for row in (*map(self._droid_row, specs), *self._own_rows())
        }

    # -------------------------------------------------------------------------- tables

    def _droid_row(self, spec: DroidSpec) -> Row:
        tool = droid_tool(spec)

        async def run(call: Inbound) -> Envelope:
            request = request_of(call.principal, spec, call.arguments, call.call_id)
            return await self._calls.call(request, call.wait_s, call.watch)

        return Row(tool=tool, handler=run)

    def _own_rows(self) -> tuple[Row, ...]:
        async def wait(call: Inbound) -> Envelope:
            return await self._calls.wait(call.principal, call.arguments, call.wait_s, call.watch)

        async def cancel(call: Inbound) -> Envelope:
            reason = call.arguments.get("reason", "asked for with droid_cancel")
            return await self._calls.cancel(call.principal, call.arguments["run_id"], reason)

        async def search(call: Inbound) -> Envelope:
            key = await self._key(call.principal)
            return await self._contexts.search(call.principal, call.arguments, key)

        async def read(call: Inbound) -> Envelope:
            return await self.resources.read_tool(
                call.principal, call.arguments, call.profile.characters
            )

        async def write(call: Inbound) -> Envelope:
            key = await self._key(call.principal)
            return await self._contexts.write(call.principal, call.arguments, key)

        table = ((WAIT, wait), (CANCEL, cancel), (SEARCH, search), (READ, read), (WRITE, write))
        return tuple(Row(tool=tool, handler=handler) for tool, handler in table)

    # --------------------------------------------------------------------------- tools

    async def list_tools(self, _: Context, __: Any) -> t.ListToolsResult:
        """Every tool, one page."""
        return t.ListToolsResult(tools=[_listed(row.tool) for row in self.rows.values()])

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """A tool's input schema, for the SDK."""
        row = self.rows.get(name)
        return row.tool.input_schema if row else None

    async def call_tool(self, ctx: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
        """Answer one call; a refusal is a result that says what to do, not a protocol error."""
        row = self.rows.get(params.name)
        if row is None:
            raise MCPError(t.INVALID_PARAMS, _unknown(params.name, self.rows))
        profile = profile_for(self._client or _client_name(ctx))
        key = (_connection(ctx), ctx.request_id)
        try:
            envelope = await self._answer(row, ctx, params, profile, key)
        except anyio.get_cancelled_exc_class():
            raise  # the waiting run is remembered: the client's cancel comes right behind
        except FactoryError as error:
            envelope = refusal(error, params.name)
        except Exception:  # noqa: BLE001 — a transport's outermost line
            log.exception("tool.failed", tool=params.name)
            envelope = refusal(
                FactoryError("An internal error; see the server's log."), row.tool.name
            )
        self._waiting.forget(key)
        return _result(envelope, profile)

    async def _answer(
        self,
        row: Row,
        ctx: Context,
        params: t.CallToolRequestParams,
        profile: Profile,
        key: tuple[str, Any],
    ) -> Envelope:
        arguments = params.arguments or {}
        check(row.tool.input_schema, arguments)
        meta: Mapping[str, Any] = ctx.meta or {}
        watch = _Waiter(ctx, key, self._waiting, "progress_token" in meta)
        inbound = Inbound(
            principal=LOCAL,
            arguments=arguments,
            profile=profile,
            call_id=_call_id(meta),
            watch=watch,
        )
        return await row.handler(inbound)

    async def cancelled(self, ctx: Context, params: t.CancelledNotificationParams) -> None:
        """A client gave up on a request: a time limit ends the wait, anything else the run."""
        run_id = self._waiting.forget((_connection(ctx), params.request_id))
        reason = params.reason or ""
        if run_id is None or any(word in reason.casefold() for word in TIMED_OUT):
            return
        log.info("run.cancel_asked", run_id=run_id, reason=reason)
        await self._calls.cancel(LOCAL, run_id, reason or "the client cancelled the call")

    # ----------------------------------------------------------------------- resources

    async def list_resources(self, _: Context, __: Any) -> t.ListResourcesResult:
        """The concrete ones: droids, the newest contexts and runs."""
        return t.ListResourcesResult(resources=await self.resources.listed(LOCAL))

    async def list_templates(self, _: Context, __: Any) -> t.ListResourceTemplatesResult:
        """How to name the others."""
        return t.ListResourceTemplatesResult(resource_templates=self.resources.templates())

    async def read_resource(
        self, _: Context, params: t.ReadResourceRequestParams
    ) -> t.ReadResourceResult:
        """One resource, whole."""
        uri = str(params.uri)
        try:
            kind, text = await self.resources.read(LOCAL, uri)
        except (Refused, UnknownContext, UnknownRun) as error:
            message = f"{error.message} {error.remedy}"
            raise MCPError(t.INVALID_PARAMS, message, data={"uri": uri}) from error
        return t.ReadResourceResult(
            contents=[t.TextResourceContents(uri=params.uri, mime_type=kind, text=text)]
        )


def build_server(face: McpFace) -> Server[Any]:
    """The one SDK Server of a process."""
    server: Server[Any] = Server(
        "factory-mcp",
        version=__version__,
        title="Factory droids",
        instructions=INSTRUCTIONS,
        on_list_tools=face.list_tools,
        on_call_tool=face.call_tool,
        get_tool_input_schema=face.schema,
        on_list_resources=face.list_resources,
        on_list_resource_templates=face.list_templates,
        on_read_resource=face.read_resource,
        cache_hints={"tools/list": CacheHint(ttl_ms=60_000, scope="private")},
    )
    server.add_notification_handler(
        "notifications/cancelled", t.CancelledNotificationParams, face.cancelled
    )
    return server


def _listed(tool: Tool) -> t.Tool:
    meta = {"anthropic/alwaysLoad": True} if tool.always_load else None
    return t.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=OUTPUT_SCHEMA,
        annotations=t.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.read_only,
            destructive_hint=tool.destructive,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.open_world,
        ),
        _meta=meta,
    )


def _result(envelope: Envelope, profile: Profile) -> t.CallToolResult:
    shown = shaped(envelope, profile.characters)
    nothing_started = envelope.status is Status.FAILED and envelope.run_id is None
    return t.CallToolResult(
        content=[t.TextContent(type="text", text=shown["text"])],
        structured_content=shown,
        is_error=nothing_started,
    )


def _unknown(name: str, rows: Mapping[str, Row]) -> str:
    near = difflib.get_close_matches(name, rows, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the tools are {', '.join(rows)}."
    return f"Unknown tool: {name[:80]}; {hint}"


def _client_name(ctx: Context) -> str | None:
    client = ctx.session.client_params
    return client.client_info.name if client else None


def _connection(ctx: Context) -> str:
    """What tells two connections with equal request ids apart."""
    request = ctx.request
    if request is None:
        return "stdio"
    session = request.headers.get("mcp-session-id") or request.query_params.get("session_id")
    return session or f"request {id(request)}"


def _call_id(meta: Mapping[str, Any]) -> str | None:
    """The client's own id of the call; it is the same when the client repeats the call."""
    found = meta.get("claudecode/toolUseId") or meta.get("callId")
    return f"call:{found}"[:255] if isinstance(found, str) else None
