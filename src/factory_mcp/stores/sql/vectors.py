"""Vectors of the nodes in SQL: made by the next search, rotated and sealed, found exactly.

A node is stored without a vector, so that no write waits for an embedder or fails with it. Each
search first makes the vectors that are missing, some at a time, and reads those that it has not
seen, whichever process made them. Then it looks through all of the tenant's in memory.

Only a search imports this module: numpy takes its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import anyio
from anyio.to_thread import run_sync
from sqlalchemy import (
    BindParameter,
    CompoundSelect,
    Integer,
    RowMapping,
    String,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.model import Json
from factory_mcp.ports import Embedder
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.hits import embedded
from factory_mcp.stores.sql.index import Facts, Postings, TenantIndex, Vectors, to_bytes
from factory_mcp.stores.sql.rotations import Rotations, numbers
from factory_mcp.stores.sql.sealed import NODES, VECTORS
from factory_mcp.stores.sql.tables import node_tokens, nodes, vectors
from factory_mcp.stores.sql.unit import Unit
from factory_mcp.stores.sql.wanted import Wanted
from factory_mcp.telemetry import log

BATCH: Final = 500
"""Vectors that are made in one go."""
READ: Final = 5000
"""Vectors that are read in one go."""
CATCH_UP: Final = 2000
"""Vectors that one search makes at most, so that it ends: about half a second."""
HOLDERS: Final = 1000
"""Notes that the words of a query bring in, rarest word first; commoner words do not count."""
TENANTS: Final = 8
"""Tenants whose vectors are kept in memory, 1 KB for each node."""

_ITS: Final = vectors.c.tenant == bindparam("its_tenant")
_EMBEDDER: Final[BindParameter[str]] = bindparam("its_embedder")
_NODE: Final = and_(vectors.c.tenant == nodes.c.tenant, vectors.c.node_id == nodes.c.id)
_WAITING: Final = (
    select(vectors.c.embedder, *(nodes.c[n] for n in ("tenant", "id", "revision", *NODES.columns)))
    .join(nodes, _NODE)
    # Not `!=`, which would look at all of them.
    .where(_ITS, or_(vectors.c.embedder < _EMBEDDER, vectors.c.embedder > _EMBEDDER))
    .limit(BATCH)
)
_NEW: Final = (
    select(
        *(vectors.c[n] for n in ("tenant", "node_id", "seq", "generation", "vector")),
        *(nodes.c[n] for n in ("droid", "workspace_key", "length")),
    )
    .join(nodes, _NODE)
    .where(_ITS, vectors.c.embedder == _EMBEDDER, vectors.c.seq > bindparam("seen"))
    .order_by(vectors.c.seq)
    .limit(READ)
)
_WRITE: Final = update(vectors).where(
    _ITS, vectors.c.node_id == bindparam("its_node"), vectors.c.embedder == bindparam("was")
)
_HELD: Final = node_tokens.c.tenant == bindparam("its_tenant")
_WORD: Final = type_coerce(node_tokens.c.token, String)
_HOLDERS: Final = (  # no AnyText here, which would look at every one of them: all are plain
    select(_WORD, type_coerce(node_tokens.c.node_id, String), node_tokens.c.count)
    .where(_HELD, _WORD.in_(bindparam("words", expanding=True)))
    .order_by(node_tokens.c.token.desc(), node_tokens.c.node_id.desc())
    .limit(HOLDERS)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a look at the tables found: nodes without a vector; else new vectors."""

    waiting: Sequence[RowMapping] = ()
    new: Sequence[RowMapping] = ()


class VectorTables:
    """The vectors of one database.

    Args:
        database: Where they are kept.
        embedder: Makes them; those of another one are made anew.
    """

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._database, self._sealer, self._embedder = database, database.sealer, embedder
        self._rotations = Rotations(database)
        self._turn = anyio.Lock()
        self._indices: dict[str, TenantIndex] = {}

    async def best(self, wanted: Wanted) -> list[tuple[str, float]] | None:
        """The ids of the best nodes and their scores; None if vectors are missing still.

        Raises:
            EmbedderUnusable: There is nothing to make vectors with.
        """
        async with self._turn:
            index, made = await self._index(wanted.tenant), 0
            while made < CATCH_UP:
                seen = await self._look(wanted.tenant, index)
                if seen.waiting:
                    await self._make(wanted.tenant, seen.waiting)
                    made += len(seen.waiting)
                elif seen.new:
                    await self._put(wanted.tenant, index, seen.new)
                else:
                    return await self._best(wanted, index)
        return None

    async def drop(self, tenant: str, ids: Sequence[str]) -> None:
        """Forget nodes that are no longer stored."""
        async with self._turn:
            if index := self._indices.get(tenant):
                index.drop(ids)

    async def _best(self, wanted: Wanted, index: TenantIndex) -> list[tuple[str, float]]:
        """The cosines are worked out in a thread while the database looks for the words."""
        cosine, words = list[Vectors](), list[Postings]()

        async def compare() -> None:
            cosine.append(await run_sync(self._cosines, index, wanted.text))

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(compare)
                async with self._database.read(wanted.tenant) as connection:
                    words += await _holders(connection, wanted)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        scope = {"droid": wanted.droid, "workspace_key": wanted.workspace_key}
        return index.best(cosine[0], words, wanted.limit, **scope)

    def _cosines(self, index: TenantIndex, text: str) -> Vectors:
        return index.cosines(self._embedder.embed([text])[0])

    async def _index(self, tenant: str) -> TenantIndex:
        index = self._indices.pop(tenant, None)
        if index is None:
            nothing: Vectors = await run_sync(self._embedder.embed, [""])
            index = TenantIndex(nothing.shape[1])
        while len(self._indices) >= TENANTS:
            del self._indices[next(iter(self._indices))]
        self._indices[tenant] = index  # the one used last comes last
        return index

    async def _look(self, tenant: str, index: TenantIndex) -> "_Seen":
        """What must be done before the search."""
        its = {"its_tenant": tenant, "its_embedder": self._embedder.id}
        async with self._database.read(tenant) as connection:
            if waiting := (await connection.execute(_WAITING, its)).mappings().all():
                return _Seen(waiting=waiting)
            newer = {**its, "seen": index.seq}
            return _Seen(new=(await connection.execute(_NEW, newer)).mappings().all())

    async def _make(self, tenant: str, waiting: Sequence[RowMapping]) -> None:
        made: Vectors = await run_sync(lambda: self._embedder.embed(list(map(self._text, waiting))))
        generation, matrix = await self._rotations.newest(tenant, made.shape[1])
        stored = zip(to_bytes(made, matrix), made, strict=True)
        known = [vector if plain.any() else None for vector, plain in stored]
        pairs = zip(waiting, known, strict=True)
        rows = [self._row(node, generation, vector) for node, vector in pairs]
        await self._database.transact(tenant, partial(_write, rows))

    def _text(self, node: RowMapping) -> str:
        """What a node's vector is made of; of one that does not open, nothing."""
        opened, unreadable = NODES.try_to_open(self._sealer, node)
        if unreadable is not None:
            return ""
        return embedded(opened["summary"], opened["data"])

    def _row(self, node: RowMapping, generation: int, vector: bytes | None) -> Json:
        its = {"tenant": node["tenant"], "node_id": node["id"], "generation": generation}
        place = VECTORS.place("vector", its)
        return {
            "its_tenant": node["tenant"],
            "its_node": node["id"],
            "was": node["embedder"],
            "embedder": self._embedder.id,
            "generation": generation,
            "vector": None if vector is None else self._sealer.seal(place, vector),
        }

    async def _put(self, tenant: str, index: TenantIndex, rows: Sequence[RowMapping]) -> None:
        made, broken = await self._rotations.opened(rows, index.dimensions)
        index.put([_facts(row) for row in rows], made)
        index.seq = rows[-1]["seq"]
        if broken:  # so that they are made anew
            log.warning("search.vectors_broken", tenant=tenant, count=len(broken), ids=broken[:10])
            these = update(vectors).where(vectors.c.tenant == tenant, vectors.c.node_id.in_(broken))
            await self._database.transact(tenant, lambda to: to.execute(these.values(embedder="")))


def _facts(row: RowMapping) -> Facts:
    return Facts(
        id=row["node_id"],
        droid=row["droid"],
        workspace_key=row["workspace_key"],
        length=row["length"],
    )


async def _write(rows: list[Json], unit: Unit) -> None:
    """Store vectors, unless their matrix is no longer the newest: then the next search does."""
    tenant, generation = rows[0]["its_tenant"], rows[0]["generation"]
    seqs = await numbers(unit, tenant, generation, len(rows))
    if numbered := [{**row, "seq": seq} for seq, row in zip(seqs, rows, strict=False)]:
        await unit.execute(_WRITE, numbered)


@cache
def _counting(words: int) -> CompoundSelect[int, int]:
    """A statement that counts the holders of so many words, each up to HOLDERS."""
    return union_all(
        *(
            select(
                literal_column(str(number), Integer),
                select(func.count())
                .select_from(
                    select(node_tokens.c.count)
                    .where(_HELD, node_tokens.c.token == bindparam(f"word{number}"))
                    .limit(HOLDERS)
                    .subquery()
                )
                .scalar_subquery(),
            )
            for number in range(words)
        )
    )


async def _holders(connection: AsyncConnection, wanted: Wanted) -> list[Postings]:
    """Who holds the query's words; the commonest ones are left out where those are too many."""
    if not wanted.words:
        return []
    its = {"its_tenant": wanted.tenant}
    named = {f"word{number}": word for number, word in enumerate(wanted.words)}
    counting = _counting(len(named))
    counted = (await connection.execute(counting, {**its, **named})).all()
    room, found = HOLDERS, dict[str, list[tuple[str, int]]]()
    for number, holding in sorted(counted, key=lambda row: row[1]):
        if holding <= room:
            room -= holding
            found[wanted.words[number]] = []
    for word, node, count in (await connection.execute(_HOLDERS, {**its, "words": [*found]})).all():
        found[word].append((node, count))
    return list(found.values())
