"""Shared context: what droids and agents learn, written, read, searched and packed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from factory_mcp.domain.errors import InvalidArguments, UnknownContext, UnknownRun
from factory_mcp.domain.ids import ENTROPY, new_id
from factory_mcp.domain.learnt import learnt, summary
from factory_mcp.domain.merge import merge_chains, merged_view
from factory_mcp.domain.model import (
    ContextNode,
    Envelope,
    Hit,
    Json,
    Outcome,
    Principal,
    Run,
    Status,
)
from factory_mcp.domain.packing import pack
from factory_mcp.domain.paging import fitting, wire_length
from factory_mcp.domain.wording import conflict_sentence
from factory_mcp.ports import Appended, Clock, Contexts, ContextSearch, NewNode, Rng, RunReader

NEW: Final = "new"
HEAD: Final = 600
"""Characters that an answer needs besides the page in it."""


def principal_key(principal: Principal) -> str:
    """The standing chain of somebody who works in no folder."""
    return f"principal:{principal.subject}"


class ContextService:
    """The shared memory of one store."""

    def __init__(
        self, contexts: Contexts, found: ContextSearch, runs: RunReader, clock: Clock, rng: Rng
    ) -> None:
        self._contexts, self._found, self._runs = contexts, found, runs
        self._clock, self._rng = clock, rng

    # --------------------------------------------------------------------- for a run

    async def base(
        self, tenant: str, context_id: str | None, key: str, *, branch: bool = False
    ) -> ContextNode | None:
        """The node that a call starts from.

        The head of the named chain, or of the workspace's standing one; for a branch the very
        node that is named.
        """
        if context_id == NEW:
            return None
        if context_id is None:
            return await self._contexts.standing(tenant, key)
        if branch:
            node = next(reversed(await self._contexts.path(tenant, context_id)), None)
        else:
            node = await self._contexts.head(tenant, context_id)
        if node is None:
            raise UnknownContext(f"`context_id`: there is no context {context_id[:80]!r}.")
        return node

    async def packed(self, base: ContextNode | None, budget_tokens: int) -> str:
        """What a droid should know, within its budget; "" where nothing was learnt yet."""
        if base is None:
            return ""
        path = await self._contexts.path(base.tenant, base.id)
        marker = self._rng.token(8).hex()
        packed = pack(merged_view(path), path, budget_tokens=budget_tokens, marker=marker)
        return packed.text

    def node_of(self, run: Run, base: ContextNode | None, outcome: Outcome) -> NewNode | None:
        """The node that remembers a run; only finished work is remembered."""
        if outcome.status is not Status.DONE:
            return None
        data, _ = learnt(outcome.text)
        wanted = run.request.get("context_id")
        return NewNode(
            id=self._new_id(),
            tenant=run.tenant,
            summary=summary(outcome.text),
            data=data,
            created_at=self._clock.now(),
            droid=run.droid,
            run_id=run.id,
            chain_id=base.chain_id if base else None,
            base_id=base.id if base else None,
            workspace_key=run.workspace_key,
            standing=wanted is None,
            branch=wants_branch(run) and base is not None,
        )

    # --------------------------------------------------------------------- the tools

    async def write(self, principal: Principal, arguments: Json, key: str) -> Envelope:
        """`context_write`: append what somebody learnt, or merge a chain into another."""
        if not any(name in arguments for name in ("data", "summary", "merge")):
            raise InvalidArguments("Give `summary`, `data` or `merge`: there is nothing to write.")
        run = await self._run(principal, arguments.get("run_id"))
        key = run.workspace_key or key if run else key
        wanted = arguments.get("context_id") or (run.context_id if run else None)
        base = await self.base(principal.tenant, wanted, key)
        data: Json = dict(arguments.get("data", {}))
        appended = await self._contexts.append(
            NewNode(
                id=self._new_id(),
                tenant=principal.tenant,
                summary=arguments.get("summary", ""),
                data={**await self._merged(base, arguments, data), **data},
                created_at=self._clock.now(),
                droid=arguments.get("droid") or (run.droid if run else None),
                run_id=run.id if run else None,
                chain_id=base.chain_id if base else None,
                workspace_key=key,
                standing=wanted is None,
                expected_revision=arguments.get("expected_revision"),
            )
        )
        return _written(appended)

    async def _merged(self, base: ContextNode | None, arguments: Json, data: Json) -> Json:
        """The changes that bring the other chain's values in; a conflict must be settled."""
        if "merge" not in arguments:
            return {}
        if base is None:
            raise InvalidArguments("`merge` needs a `context_id` to merge into.")
        other = await self.base(base.tenant, arguments["merge"], "")
        if other is None:
            raise InvalidArguments("`merge` must name a chain.")
        ours = await self._contexts.path(base.tenant, base.id)
        theirs = await self._contexts.path(other.tenant, other.id)
        changes, conflicts = merge_chains(ours, theirs)
        unsettled = [conflict for conflict in conflicts if conflict.key not in data]
        if unsettled:
            raise InvalidArguments(
                "`merge`: " + " ".join(map(conflict_sentence, unsettled[:20])),
                remedy="Give the value you want for each of these keys in `data`, and merge again.",
            )
        return changes

    async def search(self, principal: Principal, arguments: Json, key: str) -> Envelope:
        """`context_search`: the best notes for some keywords."""
        scope = None if arguments.get("scope") == "all" else key
        hits = await self._found.search(
            principal.tenant,
            arguments["query"],
            limit=arguments.get("limit", 10),
            droid=arguments.get("droid"),
            workspace_key=scope,
        )
        lines = [_hit_line(number, hit) for number, hit in enumerate(hits, 1)]
        head = f"DONE context_search: {len(hits)} note{'s' * (len(hits) != 1)} found."
        more = "" if hits else "\nTry other words, or scope `all`."
        return Envelope(
            text="\n".join([head + more, *lines]) + "\n",
            status=Status.DONE,
            data={"hits": [_hit_data(hit) for hit in hits]},
        )

    async def read(self, principal: Principal, arguments: Json, room: int) -> Envelope:
        """`context_read`: a node, its chain or the merged view, in pages of `room` characters."""
        identifier, view = _target(arguments)
        path = await self.path(principal, identifier, view, arguments.get("revision"))
        node, value = path[-1], view_of(path, view)
        title = f"{node.id}: {view} at revision {node.revision}"
        text = json.dumps(value, ensure_ascii=False, indent=1)
        answer = page(title, text, arguments.get("offset", 0), room)
        data: Json = {"view": view, "revision": node.revision, **(answer.data or {})}
        if text in answer.text and 2 * wire_length(text) < room:
            data["value"] = value
        return replace(answer, context_id=node.id, data=data)

    # ----------------------------------------------------------------- for resources

    async def path(
        self, principal: Principal, identifier: str, view: str, revision: int | None = None
    ) -> list[ContextNode]:
        """The nodes that a view needs, from the root on.

        A `node` is the one named; `chain` and `merged` go on to the head of its chain. With a
        `revision` everything is as it was then.
        """
        tenant, last = principal.tenant, identifier
        if view != "node" or revision is not None:
            head = await self._contexts.head(tenant, identifier)
            last = head.id if head else identifier
        path = await self._contexts.path(tenant, last)
        if revision is not None:
            path = [node for node in path if node.revision <= revision]
        if not path:
            raise UnknownContext(f"There is no context {identifier[:80]!r}.")
        return path

    async def newest(self, principal: Principal, limit: int) -> list[ContextNode]:
        """The newest nodes first."""
        return await self._found.newest(principal.tenant, limit=limit)

    async def _run(self, principal: Principal, run_id: str | None) -> Run | None:
        if run_id is None:
            return None
        run = await self._runs.get(principal.tenant, run_id)
        if run is None:
            raise UnknownRun(f"`run_id`: there is no run {run_id[:80]!r}.")
        return run

    def _new_id(self) -> str:
        return new_id("ctx", self._clock.now(), self._rng.token(ENTROPY))


def wants_branch(run: Run) -> bool:
    """Whether the call asked to write beside the chain."""
    return bool(run.request["options"].get("branch"))


def page(title: str, text: str, offset: int, room: int) -> Envelope:
    """The piece of a long text that begins at `offset`, and where the next one does."""
    end = fitting(text, room - HEAD, min(offset, len(text)))
    more = f" More follows: call again with offset {end}." if end < len(text) else ""
    return Envelope(
        text=f"DONE context_read {title}.{more}\n{text[offset:end]}\n",
        status=Status.DONE,
        data={"next_offset": end} if end < len(text) else {},
    )


def view_of(path: Sequence[ContextNode], view: str) -> Any:
    """What a reader sees of a chain: its last node, all nodes, or the merged view."""
    match view:
        case "merged":
            return merged_view(path)
        case "chain":
            return [node_json(node) for node in path]
        case _:
            return node_json(path[-1])


def node_json(node: ContextNode) -> Json:
    """One node for a reader."""
    return {
        "id": node.id,
        "revision": node.revision,
        "parent_id": node.parent_id,
        "droid": node.droid,
        "run_id": node.run_id,
        "created_at": node.created_at,
        "summary": node.summary,
        "data": node.data,
    }


def _target(arguments: Json) -> tuple[str, str]:
    """The id and the view that `id`/`uri` and `view` name together."""
    view = arguments.get("view")
    if identifier := arguments.get("id"):
        return identifier, view or "node"
    uri = arguments.get("uri")
    if not uri:
        raise InvalidArguments("Give `id` or `uri`.")
    scheme, _, rest = uri.partition("://")
    identifier, _, named = rest.partition("/")
    if scheme != "context" or not identifier or named not in ("", "chain", "merged"):
        raise InvalidArguments(
            "`uri` must be context://ID, context://ID/chain or context://ID/merged."
        )
    return identifier, view or named or "node"


def _written(appended: Appended) -> Envelope:
    node = appended.node
    notes = "".join(f"Note: {conflict_sentence(c)}\n" for c in appended.conflicts)
    return Envelope(
        text=f"DONE context_write {node.id}: stored as revision {node.revision}.\n{notes}",
        status=Status.DONE,
        context_id=node.id,
        data={"id": node.id, "revision": node.revision},
        conflicts=appended.conflicts,
    )


def _short(node: ContextNode, most: int = 300) -> str:
    text = " ".join((node.summary or json.dumps(node.data, ensure_ascii=False)).split())
    return text if len(text) <= most else f"{text[:most]} …"


def _hit_line(number: int, hit: Hit) -> str:
    return f"{number}. {hit.node.id} ({hit.node.droid or 'note'}): {_short(hit.node)}"


def _hit_data(hit: Hit) -> Json:
    return {
        "uri": f"context://{hit.node.id}",
        "id": hit.node.id,
        "droid": hit.node.droid,
        "summary": _short(hit.node, 120),
        "score": round(hit.score, 4),
    }
