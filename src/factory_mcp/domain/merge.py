"""Folding a context chain into one view, and finding what two writers both changed.

Keys of the top level are merged; a value is one whole. `None` stands for an absent key.
"""

from collections.abc import Iterable, Sequence
from typing import Any

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
        view.update(node.data)
    return apply(view, {})


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

    Both are whole paths from their roots. The base of the merge is what they share, nothing if
    they share no node, or what the one had of the other at the last merge between them.
    """
    bases = [merged_view(nodes) for nodes in _bases(ours, theirs)]
    base, mine, other = bases[0], merged_view(ours), merged_view(theirs)
    changes, keys = _agreed([three_way(base, mine, other) for base in bases])
    our_authors, their_authors = _authors_of(ours), _authors_of(theirs)
    conflicts = tuple(
        Conflict(
            key=key,
            base=base.get(key),
            ours=_side(mine.get(key), our_authors[key]),
            theirs=_side(other.get(key), their_authors[key]),
        )
        for key in keys
    )
    return changes, conflicts


def _bases(
    ours: Sequence[ContextNode], theirs: Sequence[ContextNode]
) -> list[Sequence[ContextNode]]:
    """The last state that both have known; two where each has taken over the other's at once."""
    shared = sum(1 for one, other in zip(ours, theirs, strict=False) if one.id == other.id)
    taken, by_us = _taken(ours, theirs)
    given, by_them = _taken(theirs, ours)
    if max(taken, given) <= shared:
        return [ours[:shared]]
    if taken <= shared or by_us <= given:
        return [ours[:given]]
    if given <= shared or by_them <= taken:
        return [theirs[:taken]]
    return [theirs[:taken], ours[:given]]


def _taken(ours: Sequence[ContextNode], theirs: Sequence[ContextNode]) -> tuple[int, int]:
    """How many of their nodes we have taken over at most, and the number of ours that did it."""
    places = {node.id: place for place, node in enumerate(theirs, 1)}
    merges = ((places.get(node.merged_id or "", 0), -at) for at, node in enumerate(ours, 1))
    place, at = max(merges, default=(0, 0))
    return place, -at


def _agreed(results: Sequence[tuple[Json, tuple[str, ...]]]) -> tuple[Json, tuple[str, ...]]:
    """The changes that follow from every base; where bases differ is a conflict."""
    first, *others = (changes for changes, _ in results)
    agreed = {key: value for key, value in first.items() if all(key in more for more in others)}
    named = dict.fromkeys(key for changes, keys in results for key in (*changes, *keys))
    return agreed, tuple(key for key in named if key not in agreed)


def _authors_of(nodes: Iterable[ContextNode]) -> dict[str, ContextNode]:
    """The node that last wrote each key."""
    return {key: node for node in nodes for key in node.data}


def _side(value: Any, author: ContextNode) -> Json:
    """One side of a conflict: the value, None for a removed key, and who wrote it when."""
    return {
        "value": value,
        "droid": author.droid,
        "run_id": author.run_id,
        "at": author.created_at,
    }


def _same(one: object, other: object) -> bool:
    """Equal as JSON: to Python `True` equals `1`, and NaN does not equal itself."""
    return canonical(one) == canonical(other)
