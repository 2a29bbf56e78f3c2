"""Context chains in SQL: appended to and read."""

from functools import partial
from typing import Any, Final

from sqlalchemy import Select, and_, select

from factory_mcp.domain.model import ContextNode
from factory_mcp.domain.seal_errors import error_of
from factory_mcp.ports import Appended, NewNode, Sealer
from factory_mcp.stores.sql.append import NODE, append_node, lineage, to_node
from factory_mcp.stores.sql.audit import Entry, feed, record
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.tables import IS_STANDING, chains, nodes
from factory_mcp.stores.sql.unit import Unit

_HEADS: Final = select(*NODE).join(
    chains, and_(chains.c.tenant == nodes.c.tenant, chains.c.head_id == nodes.c.id)
)


class ContextTables:
    """The port Contexts over one database.

    All but `path` show a node that does not open, empty and with why.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._sealer = database, database.sealer

    async def append(self, node: NewNode) -> Appended:
        """Append a node by compare-and-set on the chain's head; one audit row with it.

        Raises:
            UnknownContext: There is no such chain or base in the tenant.
            RevisionConflict: The head is not at the expected revision.
        """
        work = partial(_append, sealer=self._sealer, new=node)
        return await self._database.transact(node.tenant, work)

    async def head(self, tenant: str, id: str) -> ContextNode | None:  # noqa: A002
        """The newest node of the chain that `id` (any of its nodes) names."""
        named = select(nodes.c.chain_id).where(nodes.c.tenant == tenant, nodes.c.id == id)
        query = _HEADS.where(chains.c.tenant == tenant, chains.c.id == named.scalar_subquery())
        return next(iter(await self._nodes(tenant, query)), None)

    async def path(
        self, tenant: str, id: str, *, lenient: bool = False  # noqa: A002
    ) -> list[ContextNode]:
        """The nodes from the root to `id`, parents first; [] when absent.

        Raises:
            SealBroken: A node was damaged; KeyMissing likewise; unless it is `lenient`.
        """
        async with self._database.read(tenant) as connection:
            path = await lineage(connection, self._sealer, tenant, id)
        unreadable = next((node.unreadable for node in path if node.unreadable), None)
        if unreadable is not None and not lenient:
            raise error_of(unreadable)
        return path

    async def standing(self, tenant: str, workspace_key: str) -> ContextNode | None:
        """The head of the standing chain of a workspace."""
        its = and_(chains.c.tenant == tenant, chains.c.workspace_key == workspace_key, IS_STANDING)
        return next(iter(await self._nodes(tenant, _HEADS.where(its))), None)

    async def _nodes(self, tenant: str, query: Select[Any]) -> list[ContextNode]:
        async with self._database.read(tenant) as connection:
            rows = (await connection.execute(query)).mappings()
            return [to_node(self._sealer, row) for row in rows]


async def _append(unit: Unit, sealer: Sealer, new: NewNode) -> Appended:
    appended = await append_node(unit, sealer, new)
    entry = Entry(
        tenant=new.tenant,
        at=new.created_at,
        subject=new.subject,
        action="context.write",
        object=new.id,
        detail={"chain_id": appended.node.chain_id, "revision": appended.node.revision},
    )
    feed(unit, entry, await record(unit, entry), "node", new.id)
    return appended
