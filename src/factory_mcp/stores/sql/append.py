"""Appending to context chains, inside a transaction that may do more than that."""

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import RowMapping, Select, and_, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.errors import RevisionConflict, UnknownContext
from factory_mcp.domain.keywords import texts_in, tokens
from factory_mcp.domain.merge import merge_chains
from factory_mcp.domain.model import Conflict, ContextNode
from factory_mcp.ports import Appended, NewNode
from factory_mcp.stores.sql.tables import IS_STANDING, chains, node_tokens, nodes

INDEXED_WORDS: Final = 4000
"""Words of a node that the index takes: a node is a note, not a book."""

NODE: Final = tuple(nodes.c[field.name] for field in fields(ContextNode))
"""The columns that make a ContextNode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parent:
    """The node to append to: the head of a chain or, when a branch is made, any node."""

    id: str
    revision: int
    chain_id: str
    workspace_key: str | None


async def append_node(connection: AsyncConnection, new: NewNode) -> Appended:
    """Append a node. The chain's row is locked from the first read on: its head stays.

    Raises:
        UnknownContext: There is no such chain or base in the tenant.
        RevisionConflict: The head is not at the expected revision.
    """
    parent = await _parent(connection, new)
    node = _node(new, parent)
    if new.expected_revision not in (None, node.revision - 1):
        raise RevisionConflict(
            f"The chain is at revision {node.revision - 1}, not at {new.expected_revision}."
        )
    if parent is None or new.branch:
        conflicts: tuple[Conflict, ...] = ()
        standing = new.standing and parent is None and node.workspace_key is not None
        await _start_chain(connection, node, standing=standing)
    else:
        conflicts = await _conflicts(connection, new, parent.id)
        await _move_head(connection, node)
    await _insert(connection, node)
    return Appended(node=node, conflicts=conflicts)


async def lineage(
    connection: AsyncConnection, tenant: str, id: str, *, after: str | None = None  # noqa: A002
) -> list[ContextNode]:
    """The nodes from the root to `id`, parents first; those up to `after` left out."""
    columns = (nodes.c.id, nodes.c.parent_id)
    start = select(*columns, literal(0).label("depth"))
    path = start.where(nodes.c.tenant == tenant, nodes.c.id == id).cte("path", recursive=True)
    step = select(*columns, path.c.depth + 1)
    step = step.where(nodes.c.tenant == tenant, nodes.c.id == path.c.parent_id)
    path = path.union_all(step if after is None else step.where(nodes.c.id != after))
    query = (
        select(*NODE)
        .join(path, and_(nodes.c.tenant == tenant, nodes.c.id == path.c.id))
        .order_by(path.c.depth.desc())
    )
    return [to_node(row) for row in (await connection.execute(query)).mappings()]


def to_node(row: RowMapping) -> ContextNode:
    """The node in a row that has the columns NODE."""
    return ContextNode(**{column.name: row[column.name] for column in NODE})


async def _parent(connection: AsyncConnection, new: NewNode) -> _Parent | None:
    """What the node is appended to, locked; None if it starts a chain of its own."""
    query = _parent_query(new)
    if query is None:
        return None
    row = (await connection.execute(query.with_for_update())).mappings().one_or_none()
    if row is not None:
        return _Parent(**row)
    named = new.base_id if new.branch else new.chain_id
    if named is not None:
        raise _unknown(named)
    return None


def _parent_query(new: NewNode) -> Select[*tuple[Any, ...]] | None:
    if new.branch and new.base_id is not None:
        columns = (nodes.c.id, nodes.c.revision, nodes.c.chain_id, nodes.c.workspace_key)
        return select(*columns).where(nodes.c.tenant == new.tenant, nodes.c.id == new.base_id)
    heads = select(
        chains.c.head_id.label("id"),
        chains.c.head_revision.label("revision"),
        chains.c.id.label("chain_id"),
        chains.c.workspace_key,
    ).where(chains.c.tenant == new.tenant)
    if new.chain_id is not None:
        return heads.where(chains.c.id == new.chain_id)
    if new.standing and new.workspace_key is not None:
        return heads.where(chains.c.workspace_key == new.workspace_key, IS_STANDING)
    return None


def _node(new: NewNode, parent: _Parent | None) -> ContextNode:
    inherited = parent.workspace_key if parent else None
    return ContextNode(
        id=new.id,
        tenant=new.tenant,
        chain_id=new.id if parent is None or new.branch else parent.chain_id,
        parent_id=parent.id if parent else None,
        revision=parent.revision + 1 if parent else 1,
        droid=new.droid,
        run_id=new.run_id,
        summary=new.summary,
        data=new.data,
        workspace_key=inherited if new.workspace_key is None else new.workspace_key,
        created_at=new.created_at,
    )


async def _conflicts(
    connection: AsyncConnection, new: NewNode, head_id: str
) -> tuple[Conflict, ...]:
    """The keys that others changed since the author read, and the author changed otherwise."""
    if new.base_id is None or new.base_id == head_id:
        return ()
    since = await lineage(connection, new.tenant, head_id, after=new.base_id)
    is_ancestor = since[0].parent_id == new.base_id
    if is_ancestor and not any(node.data.keys() & new.data.keys() for node in since):
        return ()
    before = await lineage(connection, new.tenant, new.base_id)
    if not before:
        raise _unknown(new.base_id)
    theirs = [*before, *since] if is_ancestor else since
    _, conflicts = merge_chains([*before, _node(new, None)], theirs)
    return tuple(conflict for conflict in conflicts if conflict.key in new.data)


async def _start_chain(connection: AsyncConnection, node: ContextNode, *, standing: bool) -> None:
    row = {
        "tenant": node.tenant,
        "id": node.id,
        "head_id": node.id,
        "head_revision": node.revision,
        "workspace_key": node.workspace_key,
        "standing": standing,
    }
    await connection.execute(insert(chains), row)


async def _move_head(connection: AsyncConnection, node: ContextNode) -> None:
    chain = update(chains).where(chains.c.tenant == node.tenant, chains.c.id == node.chain_id)
    await connection.execute(chain.values(head_id=node.id, head_revision=node.revision))


async def _insert(connection: AsyncConnection, node: ContextNode) -> None:
    """Store the node and what a search can find it by: its summary, its data and its droid."""
    texts = (node.droid or "", node.summary, *texts_in(node.data))
    words = tokens("\n".join(texts))[:INDEXED_WORDS]
    row = {column.name: getattr(node, column.name) for column in NODE}
    await connection.execute(insert(nodes), {**row, "length": len(words)})
    index = [
        {"tenant": node.tenant, "token": word, "node_id": node.id, "count": count}
        for word, count in Counter(words).items()
    ]
    if index:
        await connection.execute(insert(node_tokens), index)


def _unknown(id: str) -> UnknownContext:  # noqa: A002
    return UnknownContext(f"There is no context {id}.")
