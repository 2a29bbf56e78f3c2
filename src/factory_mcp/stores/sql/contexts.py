"""Context chains in SQL: appended to, read and searched."""

from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.keywords import bm25, rarity, tokens
from factory_mcp.domain.model import ContextNode, Hit
from factory_mcp.ports import Appended, NewNode
from factory_mcp.stores.sql.append import NODE, append_node, lineage, to_node
from factory_mcp.stores.sql.audit import Entry, record
from factory_mcp.stores.sql.engine import Database
from factory_mcp.stores.sql.tables import IS_STANDING, chains, node_tokens, nodes

QUERY_WORDS: Final = 32
"""Different words of a query that are looked for."""

_HEADS: Final = select(*NODE).join(
    chains, and_(chains.c.tenant == nodes.c.tenant, chains.c.head_id == nodes.c.id)
)


class ContextTables:
    """The ports Contexts and ContextSearch over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, node: NewNode) -> Appended:
        """Append a node by compare-and-set on the chain's head; one audit row with it.

        Raises:
            UnknownContext: There is no such chain or base in the tenant.
            RevisionConflict: The head is not at the expected revision.
        """
        return await self._database.transact(partial(_append, new=node))

    async def head(self, tenant: str, id: str) -> ContextNode | None:  # noqa: A002
        """The newest node of the chain that `id` (any of its nodes) names."""
        named = select(nodes.c.chain_id).where(nodes.c.tenant == tenant, nodes.c.id == id)
        query = _HEADS.where(chains.c.tenant == tenant, chains.c.id == named.scalar_subquery())
        return next(iter(await self._nodes(query)), None)

    async def path(self, tenant: str, id: str) -> list[ContextNode]:  # noqa: A002
        """The nodes from the root to `id`, parents first; [] when absent."""
        async with self._database.read() as connection:
            return await lineage(connection, tenant, id)

    async def standing(self, tenant: str, workspace_key: str) -> ContextNode | None:
        """The head of the standing chain of a workspace."""
        its = and_(chains.c.tenant == tenant, chains.c.workspace_key == workspace_key, IS_STANDING)
        return next(iter(await self._nodes(_HEADS.where(its))), None)

    async def newest(self, tenant: str, *, limit: int) -> list[ContextNode]:
        """The newest nodes first."""
        order = (nodes.c.created_at.desc(), nodes.c.id.desc())
        query = select(*NODE).where(nodes.c.tenant == tenant).order_by(*order).limit(limit)
        return await self._nodes(query)

    async def search(
        self,
        tenant: str,
        query: str,
        *,
        limit: int,
        droid: str | None = None,
        workspace_key: str | None = None,
    ) -> list[Hit]:
        """Nodes by keyword score (BM25), best first; `workspace_key` None is the whole tenant."""
        words = list(dict.fromkeys(tokens(query)))[:QUERY_WORDS]
        scope = [nodes.c.tenant == tenant]
        if droid is not None:
            scope.append(nodes.c.droid == droid)
        if workspace_key is not None:
            scope.append(nodes.c.workspace_key == workspace_key)
        async with self._database.read() as connection:
            return await _search(connection, words, and_(*scope), limit)

    async def _nodes(self, query: Select[Any]) -> list[ContextNode]:
        async with self._database.read() as connection:
            return [to_node(row) for row in (await connection.execute(query)).mappings()]


async def _append(connection: AsyncConnection, new: NewNode) -> Appended:
    appended = await append_node(connection, new)
    entry = Entry(
        tenant=new.tenant,
        at=new.created_at,
        subject=new.subject,
        action="context.write",
        object=new.id,
        detail={"chain_id": appended.node.chain_id, "revision": appended.node.revision},
    )
    await record(connection, entry)
    return appended


async def _search(
    connection: AsyncConnection, words: list[str], scope: ColumnElement[bool], limit: int
) -> list[Hit]:
    """Score in the database, so that only the nodes asked for leave it."""
    holders = and_(
        node_tokens.c.tenant == nodes.c.tenant,
        node_tokens.c.node_id == nodes.c.id,
        node_tokens.c.token.in_(words),
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
        select(nodes.c.tenant, nodes.c.id, score)
        .join(node_tokens, holders)
        .where(scope)
        .group_by(nodes.c.tenant, nodes.c.id)
        .order_by(score.desc(), nodes.c.id.desc())
        .limit(limit)
        .subquery()
    )
    query = (
        select(*NODE, best.c.score)
        .join(best, and_(best.c.tenant == nodes.c.tenant, best.c.id == nodes.c.id))
        .order_by(best.c.score.desc(), nodes.c.id.desc())
    )
    found = (await connection.execute(query)).mappings()
    return [Hit(node=to_node(row), score=row["score"]) for row in found]
