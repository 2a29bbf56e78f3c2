"""Shared context: what droids and agents learn, written, read, searched and packed."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from factory_mcp.domain.arguments import MAX_CHARACTERS
from factory_mcp.domain.errors import (
    InvalidArguments,
    RevisionConflict,
    TooLarge,
    UnknownContext,
    UnknownRun,
)
from factory_mcp.domain.ids import ENTROPY, new_id
from factory_mcp.domain.learnt import learnt, summary
from factory_mcp.domain.merge import merged_view
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
from factory_mcp.domain.seal_errors import error_of
from factory_mcp.domain.wording import conflict_sentence
from factory_mcp.ports import Appended, Clock, Contexts, ContextSearch, NewNode, Rng, RunReader
from factory_mcp.services.merging import merging

MERGE_TRIES: Final = 3
NEW: Final = "new"
HEAD: Final = 600
"""Characters that an answer needs besides the page in it."""


def principal_key(principal: Principal) -> str:
    """The standing chain of somebody who works in no folder."""
    return f"principal:{principal.subject}"


class ContextService:
    """The shared memory of one store."""

    def __init__(
        self,
        contexts: Contexts,
        found: ContextSearch,
        runs: RunReader,
        clock: Clock,
        rng: Rng,
        *,
        blind: Callable[[str, str], str],
    ) -> None:
        self._contexts, self._found, self._runs = contexts, found, runs
        self._clock, self._rng, self._blind = clock, rng, blind

    def scope(self, tenant: str, key: str) -> str:
        """What the store knows a workspace by: its key can be compared there, and not read."""
        return self._blind(tenant, f"workspace {key}")

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
            path = await self._contexts.path(tenant, context_id, lenient=True)
            node = next(reversed(path), None)
        else:
            node = await self._contexts.head(tenant, context_id)
        if node is None:
            raise UnknownContext(f"`context_id`: there is no context {context_id[:80]!r}.")
        return node

    async def packed(
        self, base: ContextNode | None, budget_tokens: int
    ) -> tuple[str, tuple[str, ...]]:
        """What a droid should know, within its budget, and what it lacks.

        "" where nothing was learnt yet. A node that cannot be read does not stop a call.
        """
        if base is None:
            return "", ()
        path = await self._contexts.path(base.tenant, base.id, lenient=True)
        known = [node for node in path if not node.unreadable]
        marker = self._rng.token(8).hex()
        packed = pack(merged_view(known), known, budget_tokens=budget_tokens, marker=marker)
        return packed.text, unreadable_notes(path)

    def remembered(
        self, run: Run, base: ContextNode | None, outcome: Outcome
    ) -> tuple[Outcome, NewNode | None]:
        """The node that remembers a run, and the outcome with what is wrong with its facts.

        Only finished work is remembered.
        """
        if outcome.status is not Status.DONE:
            return outcome, None
        data, warning = learnt(outcome.text)
        if warning is not None:
            outcome = replace(outcome, warnings=(*outcome.warnings, warning))
        wanted = run.request["context_id"]
        return outcome, NewNode(
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
            subject=run.subject,
        )

    # --------------------------------------------------------------------- the tools

    async def write(self, principal: Principal, arguments: Json, key: str) -> Envelope:
        """`context_write`: append what somebody learnt, or merge a chain into another."""
        return _written(await self.add(principal, arguments, key))

    async def add(
        self, principal: Principal, arguments: Json, key: str, *, branch: bool = False
    ) -> Appended:
        """Append a node; a merge is worked out again when another writer was faster.

        Args:
            principal: Who writes.
            arguments: Those of `context_write`, checked.
            key: The workspace's key, whose standing chain is meant where none is named.
            branch: Start a chain of its own from the very node that is named.

        Raises:
            TooLarge: `data` is longer than a call may be.
            MergeConflict: Both chains changed a key that `data` does not settle.
            RevisionConflict: The chain is not at `expected_revision`.
        """
        if not any(name in arguments for name in ("data", "summary", "merge")):
            raise InvalidArguments("Give `summary`, `data` or `merge`: there is nothing to write.")
        size = len(json.dumps(arguments.get("data", {}), ensure_ascii=False))
        if size > MAX_CHARACTERS:
            raise TooLarge(f"`data` has {size} characters as JSON; the limit is {MAX_CHARACTERS}.")
        tries = 1 if "expected_revision" in arguments else MERGE_TRIES
        for _ in range(tries - 1):
            with suppress(RevisionConflict):
                return await self._add(principal, arguments, key, branch=branch)
        return await self._add(principal, arguments, key, branch=branch)

    async def _add(
        self, principal: Principal, arguments: Json, key: str, *, branch: bool
    ) -> Appended:
        run = await self._run(principal, arguments.get("run_id"))
        key = (run.workspace_key if run else None) or self.scope(principal.tenant, key)
        wanted = arguments.get("context_id") or (run.context_id if run else None)
        base = await self.base(principal.tenant, wanted, key, branch=branch)
        new = NewNode(
            id=self._new_id(),
            tenant=principal.tenant,
            summary=arguments.get("summary", ""),
            data=arguments.get("data", {}),
            created_at=self._clock.now(),
            droid=arguments.get("droid") or (run.droid if run else None),
            run_id=run.id if run else None,
            chain_id=base.chain_id if base else None,
            base_id=base.id if base and branch else None,
            workspace_key=key,
            standing=wanted is None,
            branch=branch,
            expected_revision=arguments.get("expected_revision"),
            subject=principal.subject,
        )
        if "merge" in arguments:
            new = await self._merged(new, base, arguments["merge"])
        return await self._contexts.append(new)

    async def _merged(self, new: NewNode, base: ContextNode | None, named: str) -> NewNode:
        if base is None:
            raise InvalidArguments("`merge` needs a `context_id` to merge into.")
        other = await self.base(new.tenant, named, "")
        if other is None:
            raise InvalidArguments("`merge` must name a chain.")
        return await merging(self._contexts, new, base, other)

    async def search(self, principal: Principal, arguments: Json, key: str) -> Envelope:
        """`context_search`: the notes that answer a query best."""
        scope = None if arguments.get("scope") == "all" else self.scope(principal.tenant, key)
        found = await self._found.search(
            principal.tenant,
            arguments["query"],
            limit=arguments.get("limit", 10),
            droid=arguments.get("droid"),
            workspace_key=scope,
        )
        warnings = unreadable_notes([hit.node for hit in found.hits])
        hits = [hit for hit in found.hits if not hit.node.unreadable]
        lines = [_hit_line(number, hit) for number, hit in enumerate(hits, 1)]
        lines += [f"Note: {warning}" for warning in warnings]
        head = f"DONE context_search: {len(hits)} note{'s' * (len(hits) != 1)} found."
        more = "" if hits else "\nTry other words, or scope `all`."
        return Envelope(
            text="\n".join([head + more, *lines]) + "\n",
            status=Status.DONE,
            data={"hits": [_hit_data(hit) for hit in hits]},
            partial=found.partial,
            warnings=warnings,
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

        Raises:
            UnknownContext: There is none of that id.
            SealBroken: A node that the view is made of does not open; KeyMissing likewise. A
                `chain` shows such a node in its place.
        """
        tenant, last = principal.tenant, identifier
        if view != "node" or revision is not None:
            head = await self._contexts.head(tenant, identifier)
            last = head.id if head else identifier
        path = await self._contexts.path(tenant, last, lenient=True)
        if revision is not None:
            path = [node for node in path if node.revision <= revision]
        if not path:
            raise UnknownContext(f"There is no context {identifier[:80]!r}.")
        needed = {"node": path[-1:], "chain": []}.get(view, path)
        for node in needed:
            if node.unreadable:
                raise error_of(node.unreadable)
        return path

    async def head(self, principal: Principal, identifier: str) -> ContextNode:
        """The newest node of the chain that any of its nodes names.

        Raises:
            UnknownContext: It is not there, or is another tenant's.
        """
        head = await self._contexts.head(principal.tenant, identifier)
        if head is None:
            raise UnknownContext(f"There is no context {identifier[:80]!r}.")
        return head

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


def unreadable_notes(nodes: Sequence[ContextNode]) -> tuple[str, ...]:
    """A sentence about each node that is there and cannot be read."""
    return tuple(
        f"{node.id} cannot be read [{node.unreadable.code}]: {node.unreadable.message}"
        for node in nodes
        if node.unreadable
    )


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
        "merged_id": node.merged_id,
        "droid": node.droid,
        "run_id": node.run_id,
        "created_at": node.created_at,
        "summary": node.summary,
        "data": node.data,
        **({"unreadable": node.unreadable.code} if node.unreadable else {}),
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
