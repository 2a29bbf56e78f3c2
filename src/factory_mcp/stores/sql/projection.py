"""The feeder of a vector index: nodes read from SQL, and written there as what finds them."""

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import anyio
from anyio.to_thread import run_sync
from sqlalchemy import Select, bindparam, func, select, update

from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.model import ContextNode
from factory_mcp.domain.search_errors import IndexUnfit
from factory_mcp.ports import Check, Embedder, Sealer
from factory_mcp.ports.index import Entry, Query, VectorIndex
from factory_mcp.ports.outbox import Progress
from factory_mcp.stores.sql.append import NODE, to_node, words_of
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.hits import embedded
from factory_mcp.stores.sql.sealed import blind_word
from factory_mcp.stores.sql.tables import nodes, sync_positions

if TYPE_CHECKING:
    from factory_mcp.stores.sql.turned import Turning

SINK: Final = "vector_index"
"""Its name in `sync_positions` and `parked`."""
CONTENTS: Final = "vector index, contents"
BATCH: Final = 500
"""Nodes that are written in one go."""

_TENANT: Final = nodes.c.tenant == bindparam("its_tenant")
_WRITTEN: Final = select(*NODE, nodes.c.author)
_THESE: Final = _WRITTEN.where(_TENANT, nodes.c.id.in_(bindparam("ids", expanding=True)))
_PAGE: Final = (
    _WRITTEN.where(_TENANT, nodes.c.id > bindparam("after")).order_by(nodes.c.id).limit(BATCH)
)
_COUNT: Final = select(func.count()).select_from(nodes).where(_TENANT)
_BUILT: Final = (
    select(sync_positions.c.built_with, func.count().label("tenants"))
    .where(sync_positions.c.sink == SINK)
    .group_by(sync_positions.c.built_with)
)
_MARK: Final = (
    update(sync_positions)
    .where(sync_positions.c.tenant == bindparam("its_tenant"), sync_positions.c.sink == SINK)
    .values(built_with=bindparam("built"))
)

Written = list[tuple[ContextNode, str | None]]
"""Nodes and their authors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What is to be written in one go, and what cannot be."""

    count: int
    entries: list[Entry]
    poisoned: dict[str, str]
    gone: list[str]


_Batches = AsyncGenerator[_Batch]


class Projection:
    """Feeds one vector index from one database, tenant by tenant, as the tenant.

    What it writes can be compared only with what was `made_with` the same embedder and matrix:
    when that changes, a tenant is to be built again.

    Args:
        database: The truth.
        embedder: Makes the vectors.
        index: What is fed.
    """

    def __init__(self, database: Database, embedder: Embedder, index: VectorIndex) -> None:
        self._database, self._sealer = database, database.sealer
        self._embedder, self._index = embedder, index
        self._turning: Turning | None = None

    async def built_with(self, tenant: str) -> str:
        """What the tenant's entries are made with now; differs it from what they were, rebuild.

        Raises:
            EmbedderUnusable: There is nothing to make vectors with.
        """
        return await (await self._turns()).made_with(tenant)

    async def feed(self, tenant: str, ids: Sequence[str]) -> Mapping[str, str]:
        """Write these nodes, and forget those of them that are no longer stored.

        If the index has nothing of the tenant, which it may have lost, all nodes are written.

        Returns:
            By id, why some cannot be written and never will: the node does not open, or the index
            refuses it.

        Raises:
            EmbedderUnusable: There is nothing to make vectors with.
            IndexUnavailable: It cannot be written to.
        """
        if not await self._stands(tenant):
            return await self._restored(tenant)
        return await self._write(tenant, self._these(tenant, ids), _nobody)

    async def rebuild(self, tenant: str, progress: Progress | None = None) -> Mapping[str, str]:
        """Drop what the index has of the tenant, and write all its nodes, some at a time.

        Those written meanwhile may be left out: feed them afterwards.

        Args:
            tenant: Whose nodes.
            progress: Hears how many nodes are done, and of how many.

        Returns:
            As `feed`.
        """
        async with self._database.read(tenant) as connection:
            count = (await connection.execute(_COUNT, {"its_tenant": tenant})).scalar_one()
        await self._index.drop(shard(self._sealer, tenant))

        def told(done: int) -> None:
            if progress:
                progress(done, max(done, count))

        return await self._write(tenant, self._all(tenant), told)

    async def check(self) -> Sequence[Check]:
        """Whether the index holds what this embedder has made, for `doctor`; never raises."""
        try:
            present = await run_sync(lambda: self._embedder.id)
            async with self._database.across() as connection:
                found = {row.built_with: row.tenants for row in await connection.execute(_BUILT)}
        except FactoryError as error:
            return [Check(name=CONTENTS, ok=False, detail=error.message, fix=error.remedy)]
        others = {built: count for built, count in found.items() if _embedder_in(built) != present}
        waiting = others.pop("", 0)
        if others:
            detail = f"{sum(others.values())} tenants were made with {', '.join(sorted(others))}"
            detail += f", the embedder is {present}"
            return [Check(name=CONTENTS, ok=False, detail=detail, fix=IndexUnfit.remedy)]
        detail = f"{sum(found.values()) - waiting} tenants, made with {present}"
        detail += f"; {waiting} still to be made" if waiting else ""
        return [Check(name=CONTENTS, ok=True, detail=detail)]

    async def _stands(self, tenant: str) -> bool:
        nothing = Query(vector=None, words=(), limit=1)
        return await self._index.nearest(shard(self._sealer, tenant), nothing) is not None

    async def _restored(self, tenant: str) -> Mapping[str, str]:
        """Build the tenant again; if that does not come to its end, somebody else will."""
        made_with = await self.built_with(tenant)
        await mark(self._database, tenant, "")
        poisoned = await self.rebuild(tenant)
        await mark(self._database, tenant, made_with)
        return poisoned

    async def _write(
        self, tenant: str, batches: _Batches, told: Callable[[int], None]
    ) -> dict[str, str]:
        """Write batches; while one is on its way, the next is made."""
        made, ready = anyio.create_memory_object_stream[_Batch](0)
        poisoned, done = dict[str, str](), 0

        async def make() -> None:
            with made:
                async for batch in batches:
                    await made.send(batch)

        try:
            with ready:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(make)
                    async for batch in ready:
                        poisoned |= await self._put(tenant, batch)
                        done += batch.count
                        told(done)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        return poisoned

    async def _put(self, tenant: str, batch: _Batch) -> dict[str, str]:
        its, refused = shard(self._sealer, tenant), dict[str, str]()
        if batch.entries:
            refused |= await self._index.put(its, batch.entries)
        if batch.gone:
            await self._index.remove(its, batch.gone)
        return batch.poisoned | refused

    async def _these(self, tenant: str, ids: Sequence[str]) -> _Batches:
        for start in range(0, len(ids), BATCH):
            these = ids[start : start + BATCH]
            found = await self._read(tenant, _THESE, ids=these)
            gone = sorted({*these} - {node.id for node, _ in found})
            yield await self._batch(tenant, found, gone)

    async def _all(self, tenant: str) -> _Batches:
        after = ""
        while found := await self._read(tenant, _PAGE, after=after):
            after = found[-1][0].id
            yield await self._batch(tenant, found, [])

    async def _read(
        self, tenant: str, query: "Select[tuple[object, ...]]", **its: object
    ) -> Written:
        async with self._database.read(tenant) as connection:
            rows = (await connection.execute(query, {"its_tenant": tenant, **its})).mappings().all()
        return await run_sync(lambda: [(to_node(self._sealer, row), row["author"]) for row in rows])

    async def _batch(self, tenant: str, found: Written, gone: list[str]) -> _Batch:
        poisoned = {
            node.id: f"[{node.unreadable.code}] {node.unreadable.message}"
            for node, _ in found
            if node.unreadable
        }
        sound = [(node, author) for node, author in found if not node.unreadable]
        entries: list[Entry] = []
        if sound:
            turned = await (await self._turns()).texts(
                tenant, [embedded(node.summary, node.data) for node, _ in sound]
            )
            entries = await run_sync(_entries, self._sealer, tenant, sound, turned.vectors)
        return _Batch(count=len(found), entries=entries, poisoned=poisoned, gone=gone)

    async def _turns(self) -> "Turning":
        if self._turning is None:
            self._turning = await run_sync(turning, self._database, self._embedder)
        return self._turning


def turning(database: Database, embedder: Embedder) -> "Turning":
    """What makes vectors; the import takes a quarter of a second."""
    # Read when numpy is imported: its threads spin while they wait, and take the time of others.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from factory_mcp.stores.sql.turned import Turning  # noqa: PLC0415

    return Turning(database, embedder)


async def mark(database: Database, tenant: str, built_with: str) -> None:
    """Say what the tenant's entries were made with; with "" they are to be made again."""
    its = {"its_tenant": tenant, "built": built_with}
    await database.transact(tenant, lambda unit: unit.execute(_MARK, its))


def _embedder_in(built_with: str) -> str:
    return built_with.rpartition("/")[0]


def shard(sealer: Sealer, tenant: str) -> str:
    """The tenant's name in the index."""
    return sealer.blind(tenant, "shard")


def scope(sealer: Sealer, tenant: str, kind: str, name: str | None) -> str | None:
    """A name that a search can be narrowed to, as the index has it: droid, author and the like."""
    return None if name is None else sealer.blind(tenant, f"{kind} {name}")


def _entries(sealer: Sealer, tenant: str, found: Written, vectors: Sequence[object]) -> list[Entry]:
    """The entries of nodes; notes of a tenant say many words again and again."""
    blind, named = cache(partial(blind_word, sealer, tenant)), cache(partial(scope, sealer, tenant))
    return [
        Entry(
            id=node.id,
            vector=vector,
            words=[blind(word) for word in words_of(node)],
            created_at=node.created_at,
            droid=named("droid", node.droid),
            author=named("author", author),
            chain=named("chain", node.chain_id),
            workspace=named("workspace", node.workspace_key),
        )
        for (node, author), vector in zip(found, vectors, strict=True)
    ]


def _nobody(done: int) -> None:
    """Hears how many are done."""
