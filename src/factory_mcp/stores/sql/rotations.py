"""The matrices that vectors are rotated with before they are stored: each tenant's own, sealed."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import numpy as np
from anyio.to_thread import run_sync
from sqlalchemy import (
    BindParameter,
    RowMapping,
    Update,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from factory_mcp.domain.model import Json
from factory_mcp.domain.seal_errors import KeyMissing, SealBroken
from factory_mcp.ports import Sealer
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.index import (
    Vectors,
    drawn,
    from_bytes,
    matrix_from_bytes,
    matrix_to_bytes,
    to_bytes,
)
from factory_mcp.stores.sql.sealed import ROTATIONS, VECTORS
from factory_mcp.stores.sql.tables import rotations, vectors
from factory_mcp.stores.sql.unit import Unit
from factory_mcp.telemetry import log

BATCH: Final = 500
"""Vectors that are rotated anew in one transaction."""

TENANTS: Final = 64
"""Matrices that are kept in memory."""

_TENANT: Final[BindParameter[str]] = bindparam("its_tenant")
_NEWEST: Final = (
    select(rotations.c.generation, rotations.c.last_seq)
    .where(rotations.c.tenant == _TENANT)
    .order_by(rotations.c.generation.desc())
    .limit(1)
)
_NEWEST_LOCKED: Final = _NEWEST.with_for_update()
_COUNT: Final = update(rotations).where(
    rotations.c.tenant == _TENANT, rotations.c.generation == bindparam("its_generation")
)
_ONE: Final = select(rotations).where(
    rotations.c.tenant == _TENANT, rotations.c.generation == bindparam("its_generation")
)
_STALE: Final = (
    select(vectors)
    .where(
        vectors.c.tenant == _TENANT,
        vectors.c.node_id > bindparam("after"),
        vectors.c.generation < bindparam("newest"),
        vectors.c.vector.is_not(None),
    )
    .order_by(vectors.c.node_id)
    .limit(BATCH)
)
_ROTATE: Final = update(vectors).where(
    vectors.c.tenant == _TENANT,
    vectors.c.node_id == bindparam("its_node"),
    vectors.c.generation == bindparam("was"),
)


class Rotations:
    """The matrices of one database, kept in memory once they were read."""

    def __init__(self, database: Database) -> None:
        self._database, self._sealer = database, database.sealer
        self._known: dict[tuple[str, int], Vectors | None] = {}

    async def newest(self, tenant: str, dimensions: int) -> tuple[int, Vectors]:
        """The generation that vectors are rotated with now, and its matrix; drawn if need be."""
        generation = await self._generation(tenant)
        matrix = await self._matrix(tenant, generation)
        if matrix is None or len(matrix) != dimensions:
            return await self._draw(tenant, dimensions, seen=generation)
        return generation, matrix

    async def opened(
        self, rows: Sequence[RowMapping], dimensions: int
    ) -> tuple[Vectors, list[str]]:
        """The vectors of a tenant's rows as the embedder made them, and the ids of broken ones.

        A row without a vector, and one whose vector does not open, has zeros.
        """
        for tenant, generation in {(row["tenant"], row["generation"]) for row in rows}:
            await self._matrix(tenant, generation)
        return await run_sync(self._opened, rows, dimensions)

    async def renew(self, told: Callable[[int], None]) -> int:
        """Draw new matrices and rotate all vectors anew; stopped and begun again it goes on.

        Args:
            told: Hears how many are done.

        Returns:
            How many vectors were rotated.
        """
        done = 0
        for tenant in await self._database.tenants():
            last = await self._generation(tenant)
            known = await self._matrix(tenant, last)
            if known is not None:
                generation, matrix = await self._draw(tenant, len(known), seen=last)
                after = ""
                while rows := await self._stale(tenant, generation, after):
                    fresh = await self._turned(rows, generation, matrix)
                    await self._database.transact(tenant, partial(_execute, _ROTATE, fresh))
                    after, done = rows[-1]["node_id"], done + len(rows)
                    told(done)
                await self._database.transact(tenant, partial(_drop, tenant, generation))
        return done

    async def _generation(self, tenant: str) -> int:
        """That of the tenant's newest matrix; 0 if it has none."""
        async with self._database.read(tenant) as connection:
            row = (await connection.execute(_NEWEST, {"its_tenant": tenant})).one_or_none()
        return row.generation if row else 0

    async def _matrix(self, tenant: str, generation: int) -> Vectors | None:
        """The matrix of a generation; None if there is none or it does not open any more."""
        if (tenant, generation) not in self._known:
            async with self._database.read(tenant) as connection:
                its = {"its_tenant": tenant, "its_generation": generation}
                row = (await connection.execute(_ONE, its)).mappings().one_or_none()
            self._keep(tenant, generation, None if row is None else self._matrix_in(row))
        return self._known[tenant, generation]

    def _matrix_in(self, row: RowMapping) -> Vectors | None:
        try:
            sealed = row["matrix"] or b""
            return matrix_from_bytes(self._sealer.unseal(ROTATIONS.place("matrix", row), sealed))
        except (SealBroken, KeyMissing) as error:
            log.warning("search.rotation_broken", tenant=row["tenant"], reason=error.message)
            return None

    def _keep(self, tenant: str, generation: int, matrix: Vectors | None) -> None:
        if len(self._known) >= TENANTS:
            self._known.clear()
        self._known[tenant, generation] = matrix

    async def _draw(self, tenant: str, dimensions: int, *, seen: int) -> tuple[int, Vectors]:
        """A new matrix, with which vectors are rotated from now on, and its generation.

        If another process has drawn one since the generation that was `seen`, that one.
        """
        matrix = await run_sync(drawn, dimensions)
        work = partial(_insert, sealer=self._sealer, tenant=tenant, matrix=matrix, seen=seen)
        generation = await self._database.transact(tenant, work)
        if generation is None:
            return await self.newest(tenant, dimensions)
        self._keep(tenant, generation, matrix)
        return generation, matrix

    def _opened(self, rows: Sequence[RowMapping], dimensions: int) -> tuple[Vectors, list[str]]:
        found = np.zeros((len(rows), dimensions), np.float32)
        by_generation: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
        broken: list[str] = []
        for at, row in enumerate(rows):
            if row["vector"] is not None:
                try:
                    stored = self._sealer.unseal(VECTORS.place("vector", row), row["vector"])
                    by_generation[row["generation"]][at] = stored
                except (SealBroken, KeyMissing):
                    broken.append(row["node_id"])
        for generation, stored in by_generation.items():
            matrix = self._known.get((rows[0]["tenant"], generation))
            if matrix is None:
                broken += [rows[at]["node_id"] for at in stored]
            else:
                found[list(stored)] = from_bytes(list(stored.values()), matrix)
        return found, broken

    async def _stale(self, tenant: str, newest: int, after: str) -> Sequence[RowMapping]:
        its = {"its_tenant": tenant, "newest": newest, "after": after}
        async with self._database.read(tenant) as connection:
            return (await connection.execute(_STALE, its)).mappings().all()

    async def _turned(
        self, rows: Sequence[RowMapping], generation: int, matrix: Vectors
    ) -> list[Json]:
        """The rows with their vectors rotated by another matrix; broken ones with none."""
        plain, broken = await self.opened(rows, len(matrix))
        fresh: list[Json] = []
        for row, vector in zip(rows, to_bytes(plain, matrix), strict=True):
            its = {"tenant": row["tenant"], "node_id": row["node_id"], "generation": generation}
            is_broken = row["node_id"] in broken
            sealed = None if is_broken else self._sealer.seal(VECTORS.place("vector", its), vector)
            fresh.append(
                {
                    "its_tenant": row["tenant"],
                    "its_node": row["node_id"],
                    "was": row["generation"],
                    "generation": generation,
                    "embedder": "" if is_broken else row["embedder"],
                    "vector": sealed,
                }
            )
        return fresh


async def numbers(unit: Unit, tenant: str, generation: int, count: int) -> Iterable[int]:
    """New numbers for so many vectors; none if the generation is not the newest any more."""
    newest, last = await _newest(unit, tenant)
    if newest != generation:
        return ()
    its = {"its_tenant": tenant, "its_generation": generation, "last_seq": last + count}
    await unit.execute(_COUNT, its)
    return range(last + 1, last + count + 1)


async def _newest(unit: Unit, tenant: str) -> tuple[int, int]:
    """The generation of the tenant's newest matrix, and the last number; zeros if it has none."""
    row = (await unit.execute(_NEWEST_LOCKED, {"its_tenant": tenant})).one_or_none()
    return (row.generation, row.last_seq) if row else (0, 0)


async def _insert(
    unit: Unit, *, sealer: Sealer, tenant: str, matrix: Vectors, seen: int
) -> int | None:
    newest, last = await _newest(unit, tenant)
    if newest != seen:
        return None
    row = {"tenant": tenant, "generation": newest + 1, "last_seq": last}
    sealed = sealer.seal(ROTATIONS.place("matrix", row), matrix_to_bytes(matrix))
    await unit.execute(insert(rotations), {**row, "matrix": sealed})
    return newest + 1


async def _execute(statement: Update, rows: list[Json], unit: Unit) -> None:
    await unit.execute(statement, rows)


async def _drop(tenant: str, newest: int, unit: Unit) -> None:
    """Forget the older matrices, with which nothing is rotated any more."""
    older = rotations.c.tenant == tenant, rotations.c.generation < newest
    used = select(vectors.c.generation).where(
        vectors.c.tenant == tenant, vectors.c.vector.is_not(None)
    )
    await unit.execute(delete(rotations).where(*older, rotations.c.generation.not_in(used)))
