"""Texts as the vectors that a projection holds: embedded in a thread, and turned by the tenant.

Only imported once something is embedded: numpy takes its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from anyio.to_thread import run_sync

from factory_mcp.domain.lru import Lru
from factory_mcp.ports import Embedder
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.index import Vectors
from factory_mcp.stores.sql.rotations import Rotations

QUERIES: Final = 256
"""Queries whose vectors are kept: an agent that searches again asks the same."""
QUERIES_SIZE: Final = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """Turned vectors, None for a text without meaning, and what they were made with."""

    vectors: list[Vectors | None]
    made_with: str


class Turning:
    """Makes vectors that can be compared with each other as long as they are `made_with` the same.

    Args:
        database: Where each tenant's matrix is.
        embedder: Makes them.
    """

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._embedder, self._rotations = embedder, Rotations(database)
        self._queries: Lru[str, Vectors] = Lru(entries=QUERIES, size=QUERIES_SIZE)
        self._dimensions = 0

    async def made_with(self, tenant: str) -> str:
        """The embedder and the tenant's matrix, as they are now.

        Raises:
            EmbedderUnusable: There is nothing to make vectors with.
        """
        if not self._dimensions:
            self._dimensions = (await run_sync(self._embedder.embed, [""])).shape[1]
        generation, _ = await self._rotations.newest(tenant, self._dimensions)
        return f"{self._embedder.id}/{generation}"

    async def texts(self, tenant: str, texts: Sequence[str]) -> Turned:
        """The vectors of notes.

        Raises:
            EmbedderUnusable: There is nothing to make vectors with.
        """
        return await self._turned(tenant, await run_sync(self._embedder.embed, texts))

    async def query(self, tenant: str, text: str) -> Turned:
        """The vector of a query; that of one asked before is still known.

        Raises:
            EmbedderUnusable: There is nothing to make vectors with.
        """
        made = self._queries.get(text)
        if made is None:
            made = await run_sync(self._embedder.embed, [text])
            self._queries.put(text, made, made.nbytes + len(text))
        return await self._turned(tenant, made)

    async def _turned(self, tenant: str, made: Any) -> Turned:
        generation, matrix = await self._rotations.newest(tenant, made.shape[1])
        self._dimensions = made.shape[1]
        rows = zip(made, made @ matrix, strict=True)
        return Turned(
            vectors=[turned if plain.any() else None for plain, turned in rows],
            made_with=f"{self._embedder.id}/{generation}",
        )
