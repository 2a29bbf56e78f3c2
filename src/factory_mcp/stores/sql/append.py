"""Appending to context chains, inside a transaction that may do more than that."""

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import Result, RowMapping, and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from factory_mcp.domain.context_errors import ContextDamaged
from factory_mcp.domain.errors import RevisionConflict, UnknownContext
from factory_mcp.domain.keywords import texts_in, tokens
from factory_mcp.domain.merge import merge_chains
from factory_mcp.domain.model import Conflict, ContextNode, Json
from factory_mcp.ports import Appended, NewNode, Sealer
from factory_mcp.stores.sql.sealed import NODES, blind_word
from factory_mcp.stores.sql.tables import IS_STANDING, chains, node_tokens, nodes, vectors
from factory_mcp.stores.sql.unit import Unit

INDEXED_WORDS: Final = 4000
"""Words of a node that the index takes: a node is a note, not a book."""

NODE: Final = tuple(nodes.c[f.name] for f in fields(ContextNode) if f.name != "unreadable")
"""The columns that make a ContextNode."""

# What to append to: built once, for building a statement costs more than running it.
_BRANCHING: Final = (
    select(nodes.c.id, nodes.c.revision, nodes.c.chain_id, nodes.c.workspace_key)
    .where(nodes.c.tenant == bindparam("its_tenant"), nodes.c.id == bindparam("its_id"))
    .with_for_update()
)
_HEADS: Final = (
    select(
        chains.c.head_id.label("id"),
        chains.c.head_revision.label("revision"),
        chains.c.id.label("chain_id"),
        chains.c.workspace_key,
    )
    .where(chains.c.tenant == bindparam("its_tenant"))
    .with_for_update()
)
_HEAD: Final = _HEADS.where(chains.c.id == bindparam("its_id"))
_STANDING: Final = _HEADS.where(chains.c.workspace_key == bindparam("its_id"), IS_STANDING)
_MOVE_HEAD: Final = update(chains).where(
    chains.c.tenant == bindparam("its_tenant"), chains.c.id == bindparam("its_id")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parent:
    """The node to append to: the head of a chain or, when a branch is made, any node."""

    id: str
    revision: int
    chain_id: str
    workspace_key: str | None


async def append_node(unit: Unit, sealer: Sealer, new: NewNode) -> Appended:
    """Append a node. The chain's row is locked from the first read on: its head stays.

    Raises:
        UnknownContext: There is no such chain or base in the tenant.
        RevisionConflict: The head is not at the expected revision; both writers are named.
        ContextDamaged: What others have written since the base was read leads to no root.
    """
    parent = await _parent(unit, new)
    node = _node(new, parent)
    if new.expected_revision not in (None, node.revision - 1):
        raise await _overtaken(unit, new, parent)
    if parent is None or new.branch:
        conflicts: tuple[Conflict, ...] = ()
        standing = new.standing and parent is None and node.workspace_key is not None
        _start_chain(unit, node, standing=standing)
    else:
        conflicts = await _conflicts(unit, sealer, new, parent.id)
        _move_head(unit, node)
    _know_head(unit, node, parent if not new.branch else None)
    _insert(unit, sealer, node, new.subject)
    return Appended(node=node, conflicts=conflicts)


async def lineage(
    connection: AsyncConnection,
    sealer: Sealer,
    tenant: str,
    id: str,  # noqa: A002
    *,
    after: str | None = None,
) -> list[ContextNode]:
    """The nodes from the root to `id`, parents first; those up to `after` left out.

    A parent is the revision before its child's: so no damage makes the search go round for ever.

    Raises:
        ContextDamaged: They lead to no root.
    """
    columns = (nodes.c.id, nodes.c.parent_id, nodes.c.revision)
    path = select(*columns).where(nodes.c.tenant == tenant, nodes.c.id == id)
    path = path.cte("path", recursive=True)
    step = select(*columns).where(
        nodes.c.tenant == tenant,
        nodes.c.id == path.c.parent_id,
        nodes.c.revision == path.c.revision - 1,
    )
    path = path.union_all(step if after is None else step.where(nodes.c.id != after))
    query = (
        select(*NODE)
        .join(path, and_(nodes.c.tenant == tenant, nodes.c.id == path.c.id))
        .order_by(path.c.revision)
    )
    found = [to_node(sealer, row) for row in (await connection.execute(query)).mappings()]
    if found and found[0].parent_id not in (None, after):
        raise ContextDamaged(f"The parent of {found[0].id}, above {id}, is lost or was changed.")
    return found


def to_node(sealer: Sealer, row: RowMapping) -> ContextNode:
    """The node in a row that has the columns NODE; if it does not open, empty and with why."""
    values, unreadable = NODES.try_to_open(sealer, row)
    if unreadable is not None:
        values["summary"], values["data"] = f"[cannot be read: {unreadable.message}]", {}
    return ContextNode(
        **{column.name: values[column.name] for column in NODE}, unreadable=unreadable
    )


async def _parent(unit: Unit, new: NewNode) -> _Parent | None:
    """What the node is appended to, locked; None if it starts a chain of its own."""
    if new.branch and new.base_id is not None:
        return _found(await unit.execute(_BRANCHING, _its(new, new.base_id)), new.base_id)
    if new.chain_id is not None:
        return await _head(unit, new, new.chain_id)
    if new.standing and new.workspace_key is not None:
        return await _standing(unit, new, new.workspace_key)
    return None


async def _head(unit: Unit, new: NewNode, chain_id: str) -> _Parent:
    """The head of a chain; `known` has it if it was moved or read in this transaction."""
    known: _Parent | None = unit.known.get(("chain", chain_id))
    return known or _found(await unit.peek(_HEAD, _its(new, chain_id)), chain_id)


async def _standing(unit: Unit, new: NewNode, workspace_key: str) -> _Parent | None:
    chain_id: str | None = unit.known.get(("standing", workspace_key))
    if chain_id is not None:
        return await _head(unit, new, chain_id)
    row = (await unit.peek(_STANDING, _its(new, workspace_key))).mappings().one_or_none()
    if row is None:
        return None
    unit.known["standing", workspace_key] = row["chain_id"]
    known: _Parent | None = unit.known.get(("chain", row["chain_id"]))
    return known or _Parent(**row)


def _its(new: NewNode, named: str) -> Json:
    return {"its_tenant": new.tenant, "its_id": named}


def _found(found: Result[Any], named: str) -> _Parent:
    row = found.mappings().one_or_none()
    if row is None:
        raise _unknown(named)
    return _Parent(**row)


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
        merged_id=new.merged_id,
    )


async def _conflicts(
    unit: Unit, sealer: Sealer, new: NewNode, head_id: str
) -> tuple[Conflict, ...]:
    """The keys that others changed since the author read, and the author changed otherwise.

    A node that does not open changes nothing here.
    """
    if new.base_id == head_id or (new.base_id is None and new.chain_id is not None):
        return ()
    await unit.flush()
    connection = unit.connection
    since = await lineage(connection, sealer, new.tenant, head_id, after=new.base_id)
    is_ancestor = since[0].parent_id == new.base_id
    if is_ancestor and not any(node.data.keys() & new.data.keys() for node in since):
        return ()
    before = await lineage(connection, sealer, new.tenant, new.base_id) if new.base_id else []
    if new.base_id and not before:
        raise _unknown(new.base_id)
    theirs = [*before, *since] if is_ancestor else since
    _, conflicts = merge_chains([*before, _node(new, None)], theirs)
    return tuple(conflict for conflict in conflicts if conflict.key in new.data)


def _start_chain(unit: Unit, node: ContextNode, *, standing: bool) -> None:
    row = {
        "tenant": node.tenant,
        "id": node.id,
        "head_id": node.id,
        "head_revision": node.revision,
        "workspace_key": node.workspace_key,
        "standing": standing,
    }
    unit.put(chains, [row])
    if standing:
        unit.known["standing", node.workspace_key or ""] = node.id


def _move_head(unit: Unit, node: ContextNode) -> None:
    its = {"its_tenant": node.tenant, "its_id": node.chain_id}
    head = {"head_id": node.id, "head_revision": node.revision}
    unit.move(_MOVE_HEAD, (node.chain_id,), {**its, **head})


def _know_head(unit: Unit, node: ContextNode, parent: _Parent | None) -> None:
    """Who appends to the chain later in this transaction finds its head without asking."""
    unit.known["chain", node.chain_id] = _Parent(
        id=node.id,
        revision=node.revision,
        chain_id=node.chain_id,
        workspace_key=parent.workspace_key if parent else node.workspace_key,
    )


def _insert(unit: Unit, sealer: Sealer, node: ContextNode, author: str) -> None:
    rows = rows_of(sealer, node)
    unit.put(nodes, [{**rows.node, "author": author}])
    unit.put(vectors, [rows.vector])
    unit.put(node_tokens, rows.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRows:
    """A node as it is stored: itself, and what a search can find it by."""

    node: Json
    vector: Json  # still without one: the next search makes it
    words: list[Json]


def rows_of(sealer: Sealer, node: ContextNode) -> NodeRows:
    """The rows of a new node; it can be found by its summary, its data and its droid."""
    words = words_of(node)
    row = {column.name: getattr(node, column.name) for column in NODE}
    row["length"] = len(words)
    its = {"tenant": node.tenant, "node_id": node.id}
    index = [
        {**its, "token": blind_word(sealer, node.tenant, word), "count": count}
        for word, count in Counter(words).items()
    ]
    vector = {**its, "embedder": "", "seq": 0, "generation": 0}
    return NodeRows(node=NODES.close(sealer, row, row), vector=vector, words=index)


def words_of(node: ContextNode) -> list[str]:
    """The words that a node can be found by, as often as it says them."""
    texts = (node.droid or "", node.summary, *texts_in(node.data))
    return tokens("\n".join(texts))[:INDEXED_WORDS]


async def _overtaken(unit: Unit, new: NewNode, parent: _Parent | None) -> RevisionConflict:
    """The refusal of a late writer; it names both."""
    if parent is None:
        return RevisionConflict(f"The chain is at revision 0, not at {new.expected_revision}.")
    query = select(nodes.c.droid, nodes.c.run_id)
    query = query.where(nodes.c.tenant == new.tenant, nodes.c.id == parent.id)
    first = (await unit.execute(query)).one()
    return RevisionConflict(
        f"The chain is at revision {parent.revision}, not at {new.expected_revision}. "
        f"{_writer(first.droid, first.run_id)} wrote {parent.id}; "
        f"the write of {_writer(new.droid, new.run_id)} came later and was refused."
    )


def _writer(droid: str | None, run_id: str | None) -> str:
    return f"{droid or 'an agent'} ({run_id or 'no run'})"


def _unknown(id: str) -> UnknownContext:  # noqa: A002
    return UnknownContext(f"There is no context {id}.")
