"""The port VectorIndex over Weaviate: one collection, in it a shard for each tenant."""

from collections.abc import Mapping, Sequence
from typing import Final

from factory_mcp.domain.search_errors import IndexUnavailable
from factory_mcp.ports import Check, Clock, Rng
from factory_mcp.ports.index import Candidate, Entry, Query
from factory_mcp.stores.weaviate.address import Address
from factory_mcp.stores.weaviate.connection import Connection

COLLECTION: Final = "FactoryMcp"
SEARCH_S: Final = 0.9
"""What a search waits: what Weaviate's absence costs, once."""
WRITE_S: Final = 30.0


class WeaviateIndex:
    """The port VectorIndex.

    Args:
        address: Where Weaviate is.
        clock: When to ask again a server that is away.
        rng: So that not all processes ask it at once.
        search_s: What a search waits for.
    """

    def __init__(
        self, address: Address, clock: Clock, rng: Rng, *, search_s: float = SEARCH_S
    ) -> None:
        self._connection = Connection(address, COLLECTION, clock, rng)
        self._search_s = search_s

    async def put(self, tenant: str, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Add entries, or put others in their place; by id, why some were not taken."""
        return await self._connection.ask(lambda to: to.put(tenant, entries), WRITE_S)

    async def remove(self, tenant: str, ids: Sequence[str]) -> None:
        """Forget entries; those that are not there are no error."""
        await self._connection.ask(lambda to: to.remove(tenant, ids), WRITE_S)

    async def drop(self, tenant: str) -> None:
        """Forget all that a tenant has."""
        await self._connection.ask(lambda to: to.drop(tenant), WRITE_S)

    async def nearest(self, tenant: str, query: Query) -> list[Candidate] | None:
        """The likeliest candidates, in no order; None if nothing was ever put for the tenant."""
        return await self._connection.ask(lambda to: to.nearest(tenant, query), self._search_s)

    async def check(self) -> Sequence[Check]:
        """Whether it can be asked now; never raises."""
        name, where = "vector index", f"Weaviate at {self._connection.address}"
        try:
            version = await self._connection.ask(lambda to: to.version(), self._search_s)
        except IndexUnavailable as error:
            return [Check(name=name, ok=False, detail=error.message, fix=error.remedy)]
        return [Check(name=name, ok=True, detail=f"{where}, version {version}")]

    async def close(self) -> None:
        """Let go of the server."""
        await self._connection.close()
