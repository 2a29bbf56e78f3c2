"""Context nodes found: the newest, and those that answer a query."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.fuse import fused
from factory_mcp.domain.keywords import bm25, rarity
from factory_mcp.domain.model import ContextNode, Found, Hit
from factory_mcp.ports import Embedder
from factory_mcp.stores.sql.append import NODE, to_node
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.hits import WITHOUT_VECTORS, Ranked, blind_words, read_hits
from factory_mcp.stores.sql.tables import node_tokens, nodes
from factory_mcp.stores.sql.wanted import Wanted
from factory_mcp.telemetry import log

if TYPE_CHECKING:
    from factory_mcp.stores.sql.rotations import Rotations
    from factory_mcp.stores.sql.vectors import VectorTables


class SearchTables:
    """The port ContextSearch over one database.

    A node that does not open is shown, empty and with why.

    Args:
        database: Where the nodes are.
        embedder: For search by meaning; None is keywords alone.
    """

    def __init__(self, database: Database, embedder: Embedder | None = None) -> None:
        self._database, self._sealer, self._embedder = database, database.sealer, embedder
        self._vectors: VectorTables | None = None

    async def newest(self, tenant: str, *, limit: int) -> list[ContextNode]:
        """The newest nodes first."""
        order = (nodes.c.created_at.desc(), nodes.c.id.desc())
        query = select(*NODE).where(nodes.c.tenant == tenant).order_by(*order).limit(limit)
        async with self._database.read(tenant) as connection:
            rows = (await connection.execute(query)).mappings()
            return [to_node(self._sealer, row) for row in rows]

    async def search(
        self,
        tenant: str,
        query: str,
        *,
        limit: int,
        droid: str | None = None,
        workspace_key: str | None = None,
    ) -> Found:
        """Nodes by meaning and keywords, or by keywords alone; best first, the newest of equals."""
        wanted = Wanted(
            tenant=tenant,
            text=query,
            words=blind_words(self._sealer, tenant, query),
            limit=limit,
            droid=droid,
            workspace_key=workspace_key,
        )
        hits = await self._by_meaning(wanted)
        if hits is not None:
            return Found(hits=hits)
        async with self._database.read(tenant) as connection:
            ranked = await _by_keywords(connection, wanted)
        return Found(hits=await read_hits(self._database, tenant, ranked), partial=WITHOUT_VECTORS)

    async def rotate_vectors(self, told: Callable[[int], None]) -> int:
        """Draw new matrices and rotate all stored vectors anew; see `Rotations.renew`."""
        return await (await run_sync(_rotations, self._database)).renew(told)

    async def _by_meaning(self, wanted: Wanted) -> list[Hit] | None:
        """The hits; None if that cannot be done now."""
        if self._embedder is None:
            return None
        if self._vectors is None:
            self._vectors = await run_sync(_vector_tables, self._database, self._embedder)
        tables = self._vectors
        while True:
            try:
                ranked = await tables.best(wanted)
            except FactoryError as error:  # also when vectors cannot be stored; reading may go well
                log.warning("search.by_keywords_only", code=error.code, reason=error.message)
                return None
            if ranked is None:
                return None
            hits = await read_hits(self._database, wanted.tenant, ranked)
            gone = {id for id, _ in ranked} - {hit.node.id for hit in hits}  # noqa: A001
            if not gone:
                return hits
            await tables.drop(wanted.tenant, sorted(gone))


def _vector_tables(database: Database, embedder: Embedder) -> "VectorTables":
    # Read when numpy is imported: its threads spin while they wait, and take the time of others.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from factory_mcp.stores.sql.vectors import VectorTables  # noqa: PLC0415 — numpy takes 0.25 s

    return VectorTables(database, embedder)


def _rotations(database: Database) -> "Rotations":
    from factory_mcp.stores.sql.rotations import Rotations  # noqa: PLC0415 — likewise

    return Rotations(database)


def _scope(wanted: Wanted) -> ColumnElement[bool]:
    scope = [nodes.c.tenant == wanted.tenant]
    if wanted.droid is not None:
        scope.append(nodes.c.droid == wanted.droid)
    if wanted.workspace_key is not None:
        scope.append(nodes.c.workspace_key == wanted.workspace_key)
    return and_(*scope)


async def _by_keywords(connection: AsyncConnection, wanted: Wanted) -> Ranked:
    """Score in the database, for there is nothing in memory to do it with."""
    if not wanted.words:
        return []
    scope = _scope(wanted)
    holders = and_(
        node_tokens.c.tenant == nodes.c.tenant,
        node_tokens.c.node_id == nodes.c.id,
        node_tokens.c.token.in_(wanted.words),
    )
    counted = (
        select(node_tokens.c.token, func.count().label("holding"))
        .join(nodes, holders)
        .where(scope)
        .group_by(node_tokens.c.token)
    )
    holding = {row.token: row.holding for row in await connection.execute(counted)}
    if not holding:
        return []
    size = select(func.count().label("all"), func.avg(nodes.c.length).label("mean")).where(scope)
    documents, mean = (await connection.execute(size)).one()
    weight = case(
        *((node_tokens.c.token == word, rarity(documents, held)) for word, held in holding.items())
    )
    score = func.sum(bm25(node_tokens.c.count, nodes.c.length, float(mean), weight)).label("score")
    best = (
        select(nodes.c.id, score)
        .join(node_tokens, holders)
        .where(scope)
        .group_by(nodes.c.tenant, nodes.c.id)
        .order_by(score.desc(), nodes.c.id.desc())
        .limit(wanted.limit)
    )
    rows = await connection.execute(best)
    return [(row.id, fused(0, row.score)) for row in rows]
