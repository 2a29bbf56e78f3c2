"""MCP: one low-level SDK Server over the services, for stdio, Streamable HTTP and SSE alike."""

import difflib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
import mcp_types as t
from mcp import MCPError
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from factory_mcp import __version__
from factory_mcp.clients.table import profile_for
from factory_mcp.domain.arguments import check
from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.model import LOCAL, Envelope, Json, Principal, Status
from factory_mcp.domain.profile import Profile, patience
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
from factory_mcp.transports.prompts import Prompts
from factory_mcp.transports.resources import Resources
from factory_mcp.transports.shape import shaped
from factory_mcp.transports.subscriptions import Subscriptions
from factory_mcp.transports.tables import STEADY_MS, Context, Fixtures, ToolRow, one_page

INSTRUCTIONS: Final = (
    "Factory AI's droids as tools. Give a droid a task and everything it needs to know. A result "
    "that begins with RUNNING is collected with droid_wait; never repeat the call. One that begins "
    "with HANDOFF is yours to carry on: do its steps, then call context_write with its run_id."
)
TIMED_OUT: Final = ("timeout", "timed out", "time out", "deadline", "-32001")
"""Words in the reason of a cancel that a client's own timer sent: they end the wait only."""
REMEMBERED: Final = 1000
_STEADY: Final = CacheHint(ttl_ms=STEADY_MS, scope="private")


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
    """The tools, and the tables of everything else.

    Args:
        calls: Runs of droids.
        contexts: Shared context.
        specs: The droids.
        context_key: The default workspace's key of context chains.
        client: The client's name, where the configuration says more than the client.
        fixtures: Rows beside our own.
    """

    def __init__(
        self,
        calls: CallService,
        contexts: ContextService,
        specs: tuple[DroidSpec, ...],
        context_key: Callable[[Principal], Awaitable[str]],
        *,
        client: str | None = None,
        fixtures: Fixtures,
    ) -> None:
        self._calls, self._contexts, self._key = calls, contexts, context_key
        self._client = client
        self._waiting = Waiting()
        self.resources = Resources(calls, contexts, specs, fixtures)
        self.prompts = Prompts(calls, self.resources, specs, fixtures)
        own = (*map(self._droid_row, specs), *self._own_rows())
        self._rows = {row.listed.name: row for row in (*own, *fixtures.tools)}

    # -------------------------------------------------------------------------- tables

    def _droid_row(self, spec: DroidSpec) -> ToolRow:
        async def run(call: Inbound) -> Envelope:
            request = request_of(call.principal, spec, call.arguments, call.call_id)
            return await self._calls.call(request, call.wait_s, call.watch)

        return self._row(droid_tool(spec), run)

    def _own_rows(self) -> tuple[ToolRow, ...]:
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
        return tuple(self._row(tool, handler) for tool, handler in table)

    def _row(self, tool: Tool, handler: Handler) -> ToolRow:
        """A tool of ours: what answers it gives an envelope."""

        async def answer(ctx: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
            profile = self._profile(ctx)
            meta: Mapping[str, Any] = ctx.meta or {}
            inbound = Inbound(
                principal=LOCAL,
                arguments=params.arguments or {},
                profile=profile,
                call_id=_call_id(meta),
                watch=_Waiter(ctx, _request_key(ctx), self._waiting, "progress_token" in meta),
            )
            return _result(await handler(inbound), profile)

        return ToolRow(listed=_listed(tool), answer=answer)

    # --------------------------------------------------------------------------- tools

    async def list_tools(
        self, _: Context, params: t.PaginatedRequestParams | None
    ) -> t.ListToolsResult:
        """Every tool, one page."""
        one_page(params)
        return t.ListToolsResult(tools=[row.listed for row in self._rows.values()])

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """A tool's input schema, for the SDK."""
        row = self._rows.get(name)
        return row.listed.input_schema if row else None

    async def call_tool(
        self, ctx: Context, params: t.CallToolRequestParams
    ) -> t.CallToolResult | t.InputRequiredResult:
        """Answer one call; a refusal is a result that says what to do, not a protocol error."""
        row = self._rows.get(params.name)
        if row is None:
            raise MCPError(t.INVALID_PARAMS, _unknown(params.name, self._rows))
        log.info("tool.called", tool=params.name, protocol=ctx.protocol_version, **_client(ctx))
        try:
            check(row.listed.input_schema, params.arguments or {})
            result = await row.answer(ctx, params)
        except (anyio.get_cancelled_exc_class(), MCPError):
            raise  # the waiting run is remembered: the client's cancel comes right behind
        except FactoryError as error:
            result = _result(refusal(error, params.name), self._profile(ctx))
        except Exception:  # noqa: BLE001 — a transport's outermost line
            log.exception("tool.failed", tool=params.name)
            error = FactoryError("An internal error; see the server's log.")
            result = _result(refusal(error, params.name), self._profile(ctx))
        self._waiting.forget(_request_key(ctx))
        return result

    def _profile(self, ctx: Context) -> Profile:
        return profile_for(self._client or _client_name(ctx))

    async def cancelled(self, ctx: Context, params: t.CancelledNotificationParams) -> None:
        """A client gave up on a request: a time limit ends the wait, anything else the run."""
        run_id = self._waiting.forget((_connection(ctx), params.request_id))
        reason = params.reason or ""
        if run_id is None or any(word in reason.casefold() for word in TIMED_OUT):
            return
        log.info("run.cancel_asked", run_id=run_id, reason=reason)
        await self._calls.cancel(LOCAL, run_id, reason or "the client cancelled the call")


def build_server(face: McpFace, subscriptions: Subscriptions) -> Server[Any]:
    """The one SDK Server of a process."""
    resources, prompts = face.resources, face.prompts
    server: Server[Any] = Server(
        "factory-mcp",
        version=__version__,
        title="Factory droids",
        instructions=INSTRUCTIONS,
        on_list_tools=face.list_tools,
        on_call_tool=face.call_tool,
        get_tool_input_schema=face.schema,
        on_list_resources=resources.list_resources,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read_resource,
        on_subscribe_resource=subscriptions.subscribe,
        on_unsubscribe_resource=subscriptions.unsubscribe,
        on_subscriptions_listen=subscriptions.listen,
        on_list_prompts=prompts.list_prompts,
        on_get_prompt=prompts.get_prompt,
        on_completion=prompts.complete,
        cache_hints={
            "tools/list": _STEADY,
            "prompts/list": _STEADY,
            "resources/templates/list": _STEADY,
            "server/discover": _STEADY,
        },
    )
    server.add_notification_handler(
        "notifications/cancelled", t.CancelledNotificationParams, face.cancelled
    )
    server.add_request_handler("server/discover", t.RequestParams, partial(_discover, server))
    return server


async def _discover(
    server: Server[Any], ctx: Context, _: t.RequestParams | None
) -> t.DiscoverResult:
    """The SDK's answer, but that tools and prompts stay as they are while we run."""
    can = server.get_capabilities(protocol_version=ctx.protocol_version)
    can.tools = t.ToolsCapability(list_changed=False)
    can.prompts = t.PromptsCapability(list_changed=False)
    return t.DiscoverResult(
        supported_versions=list(MODERN_PROTOCOL_VERSIONS),
        capabilities=can,
        instructions=server.instructions,
    )


def _listed(tool: Tool) -> t.Tool:
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
        _meta=tool.meta,
    )


def _result(envelope: Envelope, profile: Profile) -> t.CallToolResult:
    shown = shaped(envelope, profile.characters)
    nothing_started = envelope.status is Status.FAILED and envelope.run_id is None
    return t.CallToolResult(
        content=[t.TextContent(type="text", text=shown["text"])],
        structured_content=shown,
        is_error=nothing_started,
    )


def _unknown(name: str, rows: Mapping[str, ToolRow]) -> str:
    near = difflib.get_close_matches(name, rows, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the tools are {', '.join(rows)}."
    return f"Unknown tool: {name[:80]}; {hint}"


def _client_name(ctx: Context) -> str | None:
    client = ctx.session.client_params
    return client.client_info.name if client else None


def _client(ctx: Context) -> dict[str, str]:
    """Who calls, for the log."""
    client = ctx.session.client_params
    info = client.client_info if client else None
    return {"client": info.name[:80], "version": info.version[:80]} if info else {}


def _request_key(ctx: Context) -> tuple[str, Any]:
    return _connection(ctx), ctx.request_id


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
