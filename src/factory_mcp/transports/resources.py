"""Resources: `context://`, `run://` and `droid://`, and the tool that reads the same."""

import json
from typing import Any, Final

import mcp_types as t
from mcp import MCPError

from factory_mcp.domain.errors import UnknownResource
from factory_mcp.domain.model import LOCAL, ContextNode, Envelope, Json, Principal, Run
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.services.calls import CallService
from factory_mcp.services.contexts import ContextService, page, view_of
from factory_mcp.transports.tables import (
    STEADY_MS,
    Context,
    Fixtures,
    ResourceRow,
    TemplateRow,
    one_page,
    plainly,
)

NEWEST: Final = 50
"""Contexts, and runs, on one page of the list."""
MOST: Final = 1000
"""How many contexts, and runs, the list goes back; older ones are found by search."""
OFFERED: Final = 100
"""The newest ids that a completion chooses from."""
INDEX: Final = "context://index"
LIST: Final = "resources/list"
"""What `version` knows the list itself by."""

_CURSORS: Final = frozenset(map(str, range(NEWEST, MOST, NEWEST)))
_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_MARKDOWN: Final = "text/markdown"
_TEMPLATES: Final = (
    ("context://{id}", "context", "One context node", _JSON),
    ("context://{id}/chain", "context chain", "A node's chain, root to head", _JSON),
    ("context://{id}/merged", "merged context", "The chain folded, nearest value wins", _JSON),
    ("run://{id}", "run", "A run's result", _JSON),
    ("run://{id}/output", "run output", "All that the droid said", _TEXT),
    ("droid://{name}", "droid", "A droid's spec", _MARKDOWN),
)


class Resources:
    """What can be read by URI."""

    def __init__(
        self,
        calls: CallService,
        contexts: ContextService,
        specs: tuple[DroidSpec, ...],
        fixtures: Fixtures,
    ) -> None:
        self._calls, self._contexts = calls, contexts
        self._specs = {spec.name: spec for spec in specs}
        index = _resource(INDEX, "context index", "The newest context nodes", _JSON)
        standing = (ResourceRow(listed=index, read=self._answer), *fixtures.resources)
        self._standing = {row.listed.uri: row for row in standing}
        self.templates = (*(self._template(*row) for row in _TEMPLATES), *fixtures.templates)

    def _template(self, uri: str, name: str, description: str, kind: str) -> TemplateRow:
        known = {"context": self.context_ids, "run": self.run_ids, "droid": self.droid_names}
        listed = t.ResourceTemplate(
            uri_template=uri, name=name, description=description, mime_type=kind
        )
        variable = "name" if uri.startswith("droid") else "id"
        complete = {variable: known[uri.partition(":")[0]]}
        return TemplateRow(listed=listed, read=self._answer, complete=complete)

    # ---------------------------------------------------------------------------- listed

    async def list_resources(
        self, _: Context, params: t.PaginatedRequestParams | None
    ) -> t.ListResourcesResult:
        """The concrete ones; the first page has what is always there and the newest."""
        start = _start(params)
        with plainly():
            nodes = await self._contexts.newest(LOCAL, start + NEWEST + 1)
            runs = await self._calls.recent(LOCAL, start + NEWEST + 1)
        newest = [*map(_node, nodes[start:][:NEWEST]), *map(_run, runs[start:][:NEWEST])]
        end = start + NEWEST
        more = end < MOST and max(len(nodes), len(runs)) > end
        return t.ListResourcesResult(
            resources=newest if start else [*self._always(), *newest],
            next_cursor=str(end) if more else None,
        )

    def _always(self) -> list[t.Resource]:
        droids = [_droid(spec) for spec in self._specs.values()]
        return [*droids, *(row.listed for row in self._standing.values())]

    async def list_templates(
        self, _: Context, params: t.PaginatedRequestParams | None
    ) -> t.ListResourceTemplatesResult:
        """How to name the others."""
        one_page(params)
        return t.ListResourceTemplatesResult(
            resource_templates=[row.listed for row in self.templates]
        )

    # ------------------------------------------------------------------------------ read

    async def read_resource(
        self, ctx: Context, params: t.ReadResourceRequestParams
    ) -> t.ReadResourceResult | t.InputRequiredResult:
        """One resource, whole."""
        uri = str(params.uri)
        with plainly(uri=uri):
            return await self._reader(uri).read(ctx, uri)

    def _reader(self, uri: str) -> ResourceRow | TemplateRow:
        named = uri.rstrip("/")  # some clients end every URI with one
        rows = (row for row in self.templates if row.fits(named))
        row = self._standing.get(named) or next(rows, None)
        if row is None:
            raise _no_resource(uri)
        return row

    async def _answer(self, _: Context, uri: str) -> t.ReadResourceResult:
        kind, text = await self._text(LOCAL, uri)
        contents = t.TextResourceContents(uri=uri, mime_type=kind, text=text)
        ttl_ms = STEADY_MS if uri.startswith("droid:") else 0
        return t.ReadResourceResult(contents=[contents], ttl_ms=ttl_ms)

    async def _text(self, principal: Principal, uri: str) -> tuple[str, str]:
        """The media type and the whole text of one of our own.

        Raises:
            UnknownResource: No such URI; UnknownContext and UnknownRun likewise.
        """
        scheme, name, part = _parts(uri)
        match scheme, part:
            case "droid", "" if name in self._specs:
                return _MARKDOWN, _spec_text(self._specs[name])
            case "run", "" | "output":
                run = await self._calls.run(principal, name)
                return (_TEXT, run.output or "") if part else (_JSON, self._run_text(run))
            case "context", "" if name == "index":
                nodes = await self._contexts.newest(principal, NEWEST)
                return _JSON, _dumps([_index_row(node) for node in nodes])
            case "context", "" | "chain" | "merged":
                view = part or "node"
                path = await self._contexts.path(principal, name, view)
                return _JSON, _dumps(view_of(path, view))
            case _:
                raise _no_resource(uri)

    async def read_tool(self, principal: Principal, arguments: Json, room: int) -> Envelope:
        """`context_read`: contexts by id or URI, and every other resource by URI, in pages."""
        uri = arguments.get("uri", "")
        if not uri or (uri.startswith("context://") and uri != INDEX):
            return await self._contexts.read(principal, arguments, room)
        _, text = await self._text(principal, uri)
        return page(uri, text, arguments.get("offset", 0), room)

    def _run_text(self, run: Run) -> str:
        return _dumps(run.envelope or {"run_id": run.id, "status": run.status, "code": run.code})

    # ------------------------------------------------------------------- what may change

    async def version(self, principal: Principal, uri: str) -> object:
        """Another one whenever a reader may want to read again; None of what never changes.

        A context is its chain: any of its URIs tells that the chain has grown.

        Raises:
            UnknownResource: No such URI; UnknownContext and UnknownRun likewise.
        """
        if uri == LIST:
            runs = await self._calls.recent(principal, NEWEST)
            return await self.version(principal, INDEX), [(run.id, run.status) for run in runs]
        self._reader(uri)
        scheme, name, _ = _parts(uri)
        match scheme:
            case "run":
                run = await self._calls.run(principal, name)
                return run.status, run.code
            case "context" if name == "index":
                return [node.id for node in await self._contexts.newest(principal, NEWEST)]
            case "context":
                return (await self._contexts.head(principal, name)).id
            case "droid" if name not in self._specs:
                raise _no_resource(uri)
            case _:
                return None

    # ---------------------------------------------------------------------- completion

    async def context_ids(self, principal: Principal) -> list[str]:
        """Those of the newest contexts."""
        return [node.id for node in await self._contexts.newest(principal, OFFERED)]

    async def run_ids(self, principal: Principal) -> list[str]:
        """Those of the newest runs."""
        return [run.id for run in await self._calls.recent(principal, OFFERED)]

    async def droid_names(self, _: Principal) -> list[str]:
        """All of them."""
        return list(self._specs)


def _parts(uri: str) -> tuple[str, str, str]:
    """The scheme, the name and what of it is meant."""
    scheme, _, rest = uri.partition("://")
    name, _, part = rest.rstrip("/").partition("/")
    return scheme, name, part


def _no_resource(uri: str) -> UnknownResource:
    return UnknownResource(f"There is no resource {uri[:200]!r}.")


def _start(params: t.PaginatedRequestParams | None) -> int:
    """Where a page begins; a cursor is one that a page of ours ended with."""
    cursor = params.cursor if params else None
    if cursor is None:
        return 0
    if cursor not in _CURSORS:
        raise MCPError(t.INVALID_PARAMS, f"Unknown cursor {cursor[:80]!r}; list without one.")
    return int(cursor)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _resource(uri: str, name: str, description: str, kind: str) -> t.Resource:
    return t.Resource(uri=uri, name=name, description=description, mime_type=kind)


def _droid(spec: DroidSpec) -> t.Resource:
    return _resource(f"droid://{spec.name}", f"{spec.name} droid", spec.description, _MARKDOWN)


def _node(node: ContextNode) -> t.Resource:
    summary = " ".join(node.summary.split())[:160] or "data without a summary"
    return _resource(f"context://{node.id}", f"{node.droid or 'note'} {node.id}", summary, _JSON)


def _run(run: Run) -> t.Resource:
    task = " ".join(str(run.request.get("task", "")).split())[:120]
    return _resource(f"run://{run.id}", f"{run.droid} {run.status}", task, _JSON)


def _index_row(node: ContextNode) -> Json:
    return {
        "uri": f"context://{node.id}",
        "droid": node.droid,
        "revision": node.revision,
        "summary": " ".join(node.summary.split())[:300],
    }


def _spec_text(spec: DroidSpec) -> str:
    tasks = "\n".join(f"- `{task.name}`: {task.description}" for task in spec.tasks)
    return f"# {spec.name}\n\n{spec.description}\n\n## Tasks\n{tasks}\n\n{spec.prompt}\n"
