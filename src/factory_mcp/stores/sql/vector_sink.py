"""The sink that is the vector index."""

from collections.abc import Mapping, Sequence

from factory_mcp.ports.outbox import Change, Progress
from factory_mcp.stores.sql.projection import SINK, Projection


class VectorSink:
    """The port Sink over a projection."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection

    @property
    def name(self) -> str:
        """As positions and parked rows have it."""
        return SINK

    async def built_with(self, tenant: str) -> str:
        """The embedder and the tenant's matrix."""
        return await self._projection.built_with(tenant)

    async def apply(self, tenant: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Write the nodes."""
        ids = [change.id for change in changes if change.kind == "node"]
        return await self._projection.feed(tenant, ids) if ids else {}

    async def rebuild(self, tenant: str, progress: Progress) -> Mapping[str, str]:
        """Write all nodes that the tenant has."""
        return await self._projection.rebuild(tenant, progress)
