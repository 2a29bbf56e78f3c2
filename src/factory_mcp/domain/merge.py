"""Folding a context chain into one view, and finding what two writers both changed.

Keys of the top level are merged; a value is one whole. `None` stands for an absent key.
"""

from collections.abc import Iterable, Sequence

from factory_mcp.domain.hash_chain import canonical
from factory_mcp.domain.model import Conflict, ContextNode, Json


def apply(view: Json, changes: Json) -> Json:
    """The view with the changes made; a `None` removes its key."""
    merged = {**view, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def merged_view(nodes: Iterable[ContextNode]) -> Json:
    """What a chain says now: its nodes from the root on, the nearest to the head wins."""
    view: Json = {}
    for node in nodes:
        view = apply(view, node.data)
    return view


def three_way(base: Json, ours: Json, theirs: Json) -> tuple[Json, tuple[str, ...]]:
    """What to change in ours so that it holds both, and the keys that both changed differently.

    Args:
        base: The view both started from.
        ours: The view that wins where both changed a key.
        theirs: The view whose other changes are taken over.

    Returns:
        Changes for `apply`, and the conflicting keys; these are not among the changes.
    """
    changes: Json = {}
    conflicts: list[str] = []
    for key in {**base, **ours, **theirs}:
        before, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if _same(other, before) or _same(other, mine):
            continue
        if _same(mine, before):
            changes[key] = other
        else:
            conflicts.append(key)
    return changes, tuple(conflicts)


def merge_chains(
    ours: Sequence[ContextNode], theirs: Sequence[ContextNode]
) -> tuple[Json, tuple[Conflict, ...]]:
    """What to change in our chain so that it holds both, and where they disagree.

    Both are whole paths from their roots; what they share is the base of the merge.
    """
    shared = sum(1 for one, other in zip(ours, theirs, strict=False) if one.id == other.id)
    base = merged_view(ours[:shared])
    mine, other = merged_view(ours), merged_view(theirs)
    changes, keys = three_way(base, mine, other)
    our_authors, their_authors = authors_of(ours), authors_of(theirs)
    conflicts = tuple(
        Conflict(
            key=key,
            base=base.get(key),
            ours=side(key, mine, our_authors.get(key)),
            theirs=side(key, other, their_authors.get(key)),
        )
        for key in keys
    )
    return changes, conflicts


def authors_of(nodes: Iterable[ContextNode]) -> dict[str, ContextNode]:
    """The node that last wrote each key."""
    return {key: node for node in nodes for key in node.data}


def side(key: str, view: Json, author: ContextNode | None) -> Json:
    """One side of a conflict: the value, and who wrote it when; None for a key that is gone."""
    return {
        "value": view.get(key),
        "droid": author.droid if author else None,
        "run_id": author.run_id if author else None,
        "at": author.created_at if author else None,
    }


def _same(one: object, other: object) -> bool:
    """Equal as JSON: to Python `True` equals `1`, and NaN does not equal itself."""
    return canonical(one) == canonical(other)
