"""Resources: `context://`, `run://` and `droid://`, and the tool that reads the same."""

import json
from typing import Any, Final

import mcp_types as t

from factory_mcp.domain.errors import UnknownResource
from factory_mcp.domain.model import ContextNode, Envelope, Json, Principal, Run
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.services.calls import CallService
from factory_mcp.services.contexts import ContextService, page, view_of

NEWEST: Final = 50
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
        self, calls: CallService, contexts: ContextService, specs: tuple[DroidSpec, ...]
    ) -> None:
        self._calls, self._contexts = calls, contexts
        self._specs = {spec.name: spec for spec in specs}

    def templates(self) -> list[t.ResourceTemplate]:
        """The shapes of the URIs."""
        return [
            t.ResourceTemplate(uri_template=uri, name=name, description=text, mime_type=kind)
            for uri, name, text, kind in _TEMPLATES
        ]

    async def listed(self, principal: Principal) -> list[t.Resource]:
        """The concrete ones: the droids, the index, the newest contexts and runs."""
        droids = [_droid(spec) for spec in self._specs.values()]
        index = _resource("context://index", "context index", "The newest context nodes", _JSON)
        nodes = await self._contexts.newest(principal, NEWEST)
        runs = await self._calls.recent(principal, NEWEST)
        return [*droids, index, *map(_node, nodes), *map(_run, runs)]

    async def read(self, principal: Principal, uri: str) -> tuple[str, str]:
        """The media type and the whole text of one resource.

        Raises:
            UnknownResource: No such URI; UnknownContext and UnknownRun likewise.
        """
        scheme, _, rest = uri.partition("://")
        name, _, part = rest.rstrip("/").partition("/")
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
                raise UnknownResource(f"There is no resource {uri[:200]!r}.")

    async def read_tool(self, principal: Principal, arguments: Json, room: int) -> Envelope:
        """`context_read`: contexts by id or URI, and every other resource by URI, in pages."""
        uri = arguments.get("uri", "")
        if not uri or (uri.startswith("context://") and uri != "context://index"):
            return await self._contexts.read(principal, arguments, room)
        _, text = await self.read(principal, uri)
        return page(uri, text, arguments.get("offset", 0), room)

    def _run_text(self, run: Run) -> str:
        return _dumps(run.envelope or {"run_id": run.id, "status": run.status, "code": run.code})


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
