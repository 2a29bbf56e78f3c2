"""Search over a vector index that is fed from SQL: it names the nodes, SQL has them.

The index is asked only while it is known to hold what the tables hold, turned as the query is.
Otherwise the words are looked up in SQL, and the answer says that it went without.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from anyio.to_thread import run_sync
from sqlalchemy import bindparam, select

from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.fuse import NEAR, fused
from factory_mcp.domain.model import ContextNode, Found, Hit
from factory_mcp.domain.search_errors import IndexUnfit
from factory_mcp.ports import Clock, Embedder
from factory_mcp.ports.index import Candidate, Query, VectorIndex
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.hits import blind_words, read_hits
from factory_mcp.stores.sql.projection import SINK, mark, scope, shard, turning
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.tables import outbox, sync_positions
from factory_mcp.telemetry import log

if TYPE_CHECKING:
    from factory_mcp.stores.sql.turned import Turning

OLD_S: Final = 2.0
"""A node that the index has not been told of for so long is missed."""

_ITS: Final = (
    sync_positions.c.tenant == bindparam("its_tenant"),
    sync_positions.c.sink == SINK,
)
_BUILT_WITH: Final = select(sync_positions.c.built_with).where(*_ITS)
_OLDEST: Final = (
    select(outbox.c.at)
    .where(
        outbox.c.tenant == bindparam("its_tenant"),
        outbox.c.kind == "node",
        outbox.c.seq > select(sync_positions.c.seq).where(*_ITS).scalar_subquery(),
    )
    .order_by(outbox.c.seq)
    .limit(1)
)
_STATE: Final = select(
    _BUILT_WITH.scalar_subquery().label("built_with"), _OLDEST.scalar_subquery().label("oldest")
)
_DIGITS: Final = 6
"""Of a score: the rest is rounding, and would put equal nodes in any order."""


class ProjectedSearch:
    """The port ContextSearch over a database and a vector index.

    Args:
        database: The truth.
        embedder: Makes the queries' vectors; the same that feeds the index.
        index: What is asked.
        clock: How long nodes have been waiting for the index.
    """

    def __init__(
        self, database: Database, embedder: Embedder, index: VectorIndex, clock: Clock
    ) -> None:
        self._database, self._sealer = database, database.sealer
        self._embedder, self._index, self._clock = embedder, index, clock
        self._tables = SearchTables(database)
        self._turning: Turning | None = None

    async def newest(self, tenant: str, *, limit: int) -> list[ContextNode]:
        """The newest nodes first."""
        return await self._tables.newest(tenant, limit=limit)

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
        asked = Query(
            vector=None,
            words=blind_words(self._sealer, tenant, query),
            limit=limit,
            droid=scope(self._sealer, tenant, "droid", droid),
            workspace=scope(self._sealer, tenant, "workspace", workspace_key),
        )
        try:
            hits = await self._by_meaning(tenant, query, asked)
        except FactoryError as error:
            log.warning("search.by_keywords_only", code=error.code, reason=error.message)
            return await self._tables.search(
                tenant, query, limit=limit, droid=droid, workspace_key=workspace_key
            )
        return Found(hits=hits)

    async def _by_meaning(self, tenant: str, text: str, asked: Query) -> list[Hit]:
        """The hits.

        Raises:
            FactoryError: That cannot be done now.
        """
        if self._turning is None:
            self._turning = await run_sync(turning, self._database, self._embedder)
        turned = await self._turning.query(tenant, text)
        await self._look(tenant, turned.made_with)
        asked = replace(asked, vector=turned.vectors[0])
        try:
            found = await self._index.nearest(shard(self._sealer, tenant), asked)
        except IndexUnfit:  # it holds vectors of others: whoever feeds it is to build it again
            await mark(self._database, tenant, "")
            raise
        if found is None:
            await self._lost(tenant)
            return []
        return await self._hits(tenant, _ranked(found), asked.limit)

    async def _look(self, tenant: str, made_with: str) -> None:
        """Whether the index holds what the tables hold; IndexUnfit if not."""
        async with self._database.read(tenant) as connection:
            state = (await connection.execute(_STATE, {"its_tenant": tenant})).one()
        if state.built_with != made_with:
            raise IndexUnfit(
                f"What Weaviate has of {tenant} was made with {state.built_with or 'nothing yet'},"
                f" not with {made_with}."
            )
        if state.oldest is not None and self._clock.now() - state.oldest > OLD_S:
            raise IndexUnfit(f"Weaviate has not been told the latest of {tenant}.")

    async def _lost(self, tenant: str) -> None:
        """Have the tenant built again that the index has nothing of; unless there is nothing."""
        if await self._tables.newest(tenant, limit=1):
            await mark(self._database, tenant, "")
            raise IndexUnfit(f"Weaviate has lost what it had of {tenant}.")

    async def _hits(self, tenant: str, ranked: list[tuple[str, float]], limit: int) -> list[Hit]:
        """The first that are still stored; the index is told to forget those that are not."""
        hits, gone = list[Hit](), set[str]()
        while ranked and len(hits) < limit:
            these, ranked = ranked[: limit - len(hits)], ranked[limit - len(hits) :]
            read = await read_hits(self._database, tenant, these)
            gone |= {id for id, _ in these} - {hit.node.id for hit in read}  # noqa: A001
            hits += read
        if gone:
            await self._index.remove(shard(self._sealer, tenant), sorted(gone))
        return hits


def _ranked(found: list[Candidate]) -> list[tuple[str, float]]:
    """Best first, of equal ones the newest; what answers the query in no way is left out."""
    scored = [(one.id, round(_score(one), _DIGITS)) for one in found]
    return sorted(
        ((name, score) for name, score in scored if score > 0),
        key=lambda hit: (hit[1], hit[0]),
        reverse=True,
    )


def _score(one: Candidate) -> float:
    if one.keywords > 0:
        return fused(max(one.cosine, 0.0), one.keywords)
    return one.cosine if one.cosine >= NEAR else 0.0
