"""The Python face of the shared context: the same store and rules as a running server's.

`FactoryContextManager` is for plain scripts, `AsyncFactoryContextManager` for async ones; the
first asks the second, whose methods say what each call does.
"""

import atexit
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from factory_mcp import telemetry
from factory_mcp.app import build, context_key
from factory_mcp.domain.arguments import check
from factory_mcp.domain.context_errors import ContextDamaged, MergeConflict
from factory_mcp.domain.errors import (
    FactoryError,
    InvalidArguments,
    RevisionConflict,
    StoreFull,
    StoreUnavailable,
    TooLarge,
    UnknownContext,
)
from factory_mcp.domain.model import LOCAL, ContextNode, Json
from factory_mcp.domain.tools import READ, SEARCH, WRITE, Tool
from factory_mcp.services.contexts import NEW, node_json, view_of
from factory_mcp.settings import Settings

__all__ = (
    "AsyncFactoryContextManager",
    "Context",
    "ContextDamaged",
    "FactoryContextManager",
    "FactoryError",
    "Found",
    "InvalidArguments",
    "MergeConflict",
    "RevisionConflict",
    "StoreFull",
    "StoreUnavailable",
    "TooLarge",
    "UnknownContext",
)
T = TypeVar("T")
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One node of a context chain, as it was written.

    `task_id` names the chain from its first node on and stays the same; `id` names this node.
    `merged_id` is the node of another chain that this one has merged. `created_at` is in Unix
    seconds. A None in `data` removes that key from the merged view.
    """

    task_id: str
    id: str
    revision: int
    parent_id: str | None
    merged_id: str | None
    droid: str | None
    run_id: str | None
    created_at: float
    summary: str
    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One note that a search found; the score is comparable within one search only."""

    task_id: str
    droid: str | None
    summary: str
    score: float


class AsyncFactoryContextManager:
    """Shared context for async programs. It opens the store with the first call.

    Each `task_id` may name a chain by any of its nodes.

    Args:
        settings: Where the store is; None reads the environment and config.yaml as the server
            does.

    Raises:
        FactoryError: Every call raises one of its kinds, the server's own, each with `code`
            and `remedy`: UnknownContext, InvalidArguments, TooLarge, StoreUnavailable, ….
    """

    def __init__(self, settings: Settings | None = None) -> None:
        telemetry.configure_unless_configured()
        self._app = build(settings or Settings.load())
        self._opening = anyio.Lock()
        self._is_open = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the store; a later call opens it again."""
        self._is_open = False
        await self._app.stores.close()

    async def create_context(
        self, droid: str, initial_data: Data | None = None, *, summary: str = ""
    ) -> Context:
        """Start a chain.

        Args:
            droid: In whose name.
            initial_data: Facts by name, as JSON values.
            summary: What happened, in a few sentences.
        """
        return await self._write(
            context_id=NEW, data=dict(initial_data or {}), summary=summary or None, droid=droid
        )

    async def update_context(
        self,
        task_id: str,
        data_updates: Data | None = None,
        *,
        summary: str = "",
        droid: str | None = None,
        expected_revision: int | None = None,
    ) -> Context:
        """Append to a chain at its head; a None removes a key.

        Raises:
            RevisionConflict: The chain is not at `expected_revision`.
        """
        return await self._write(
            context_id=task_id,
            data=dict(data_updates or {}),
            summary=summary or None,
            droid=droid,
            expected_revision=expected_revision,
        )

    async def branch_context(
        self,
        task_id: str,
        data_updates: Data | None = None,
        *,
        summary: str = "",
        droid: str | None = None,
    ) -> Context:
        """Start a chain of its own from the node that is named, which stays as it is."""
        return await self._write(
            branch=True,
            context_id=task_id,
            data=dict(data_updates or {}),
            summary=summary or None,
            droid=droid,
        )

    async def merge_contexts(
        self,
        task_id: str,
        other_task_id: str,
        *,
        resolve: Data | None = None,
        summary: str = "",
        droid: str | None = None,
    ) -> Context:
        """Bring another chain's values into a chain.

        Args:
            task_id: The chain that takes them over.
            other_task_id: The chain they come from; it stays as it is.
            resolve: The value that is to stand for each key that both have changed.
            summary: Why.
            droid: In whose name.

        Raises:
            MergeConflict: With both values, their writers and times in `conflicts`; nothing
                was written.
        """
        return await self._write(
            context_id=task_id,
            merge=other_task_id,
            data=dict(resolve or {}),
            summary=summary or None,
            droid=droid,
        )

    async def get_context(self, task_id: str, *, revision: int | None = None) -> Json:
        """What a chain says, the value nearest to its head first; or said at a revision."""
        return view_of(await self._path(task_id, "merged", revision), "merged")

    async def get_context_chain(
        self, task_id: str, *, revision: int | None = None
    ) -> list[Context]:
        """The nodes from the root to the head, or to a revision."""
        return [_context(node) for node in await self._path(task_id, "chain", revision)]

    async def search_contexts(
        self, query: str, *, limit: int = 10, droid: str | None = None, scope: str = "workspace"
    ) -> list[Found]:
        """The best notes, best first; of this `workspace`, or of `all`."""
        arguments = _checked(SEARCH, query=query, limit=limit, droid=droid, scope=scope)
        await self._open()
        key = await context_key(self._app.workspaces, LOCAL)
        found = (await self._app.contexts.search(LOCAL, arguments, key)).data or {}
        return [
            Found(task_id=hit["id"], droid=hit["droid"], summary=hit["summary"], score=hit["score"])
            for hit in found["hits"]
        ]

    async def _path(self, task_id: str, view: str, revision: int | None) -> list[ContextNode]:
        _checked(READ, id=task_id, revision=revision)
        await self._open()
        return await self._app.contexts.path(LOCAL, task_id, view, revision)

    async def _write(self, *, branch: bool = False, **given: Any) -> Context:
        arguments = _checked(WRITE, **given)
        await self._open()
        key = await context_key(self._app.workspaces, LOCAL)
        appended = await self._app.contexts.add(LOCAL, arguments, key, branch=branch)
        return _context(appended.node)

    async def _open(self) -> None:
        async with self._opening:
            if not self._is_open:
                await self._app.stores.open()
                self._is_open = True


class FactoryContextManager:
    """Shared context for plain scripts: `AsyncFactoryContextManager`, each call waited for.

    Threads may share one. It opens the store with the first call, in a thread of its own;
    `close`, the end of a `with` block or the end of the program lets go of it.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._twin = AsyncFactoryContextManager(settings)
        self._starting = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._started()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store; a later call opens it again."""
        atexit.unregister(self.close)
        with self._starting:
            portal, self._portal = self._portal, None
            if portal is not None:
                portal.call(self._twin.aclose)
            self._running.close()

    def create_context(
        self, droid: str, initial_data: Data | None = None, *, summary: str = ""
    ) -> Context:
        """Start a chain."""
        return self._wait(self._twin.create_context, droid, initial_data, summary=summary)

    def update_context(
        self,
        task_id: str,
        data_updates: Data | None = None,
        *,
        summary: str = "",
        droid: str | None = None,
        expected_revision: int | None = None,
    ) -> Context:
        """Append to a chain at its head; a None removes a key."""
        return self._wait(
            self._twin.update_context,
            task_id,
            data_updates,
            summary=summary,
            droid=droid,
            expected_revision=expected_revision,
        )

    def branch_context(
        self,
        task_id: str,
        data_updates: Data | None = None,
        *,
        summary: str = "",
        droid: str | None = None,
    ) -> Context:
        """Start a chain of its own from the node that is named."""
        return self._wait(
            self._twin.branch_context, task_id, data_updates, summary=summary, droid=droid
        )

    def merge_contexts(
        self,
        task_id: str,
        other_task_id: str,
        *,
        resolve: Data | None = None,
        summary: str = "",
        droid: str | None = None,
    ) -> Context:
        """Bring another chain's values into a chain; conflicts are raised until resolved."""
        return self._wait(
            self._twin.merge_contexts,
            task_id,
            other_task_id,
            resolve=resolve,
            summary=summary,
            droid=droid,
        )

    def get_context(self, task_id: str, *, revision: int | None = None) -> Json:
        """What a chain says, the value nearest to its head first; or said at a revision."""
        return self._wait(self._twin.get_context, task_id, revision=revision)

    def get_context_chain(self, task_id: str, *, revision: int | None = None) -> list[Context]:
        """The nodes from the root to the head, or to a revision."""
        return self._wait(self._twin.get_context_chain, task_id, revision=revision)

    def search_contexts(
        self, query: str, *, limit: int = 10, droid: str | None = None, scope: str = "workspace"
    ) -> list[Found]:
        """The best notes, best first; of this `workspace`, or of `all`."""
        return self._wait(self._twin.search_contexts, query, limit=limit, droid=droid, scope=scope)

    def _wait(self, call: Callable[..., Awaitable[T]], *arguments: Any, **named: Any) -> T:
        return self._started().call(partial(call, *arguments, **named))

    def _started(self) -> BlockingPortal:
        with self._starting:
            if self._portal is None:
                self._portal = self._running.enter_context(start_blocking_portal())
                atexit.register(self.close)
            return self._portal


def _context(node: ContextNode) -> Context:
    return Context(task_id=node.chain_id, **node_json(node))


def _checked(tool: Tool, **given: Any) -> Json:
    """The arguments that were given, as a call of the tool would bring them: a copy, as JSON.

    Raises:
        InvalidArguments: They are not what the tool takes, or hold what JSON cannot.
        TooLarge: They are longer than any call may be.
    """
    present = {name: value for name, value in given.items() if value is not None}
    try:
        arguments = json.loads(json.dumps(present, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(f"The arguments cannot be written as JSON: {error}.") from error
    check(tool.input_schema, arguments)
    return arguments
