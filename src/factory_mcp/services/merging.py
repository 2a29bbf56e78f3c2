"""Merging one chain into another: what both changed is named until the caller has settled it."""

from dataclasses import replace

from factory_mcp.domain.context_errors import MergeConflict
from factory_mcp.domain.errors import InvalidArguments
from factory_mcp.domain.merge import merge_chains
from factory_mcp.domain.model import ContextNode
from factory_mcp.domain.wording import MOST_CONFLICTS, choice_sentence, merge_note
from factory_mcp.ports import Contexts, NewNode


async def merging(
    contexts: Contexts, new: NewNode, into: ContextNode, other: ContextNode
) -> NewNode:
    """The node that brings one chain's values into another.

    It can be appended only as long as the chain stands where it was read.

    Args:
        contexts: Where both chains are read.
        new: The node as its writer wants it: `data` settles conflicts, `summary` says why.
        into: The head of the chain that takes the values over.
        other: The head of the chain that gives them.

    Raises:
        MergeConflict: Both changed a key that `data` does not settle.
        InvalidArguments: They are the same chain.
    """
    if into.id == other.id:
        raise InvalidArguments("`merge` names the very chain that it would be merged into.")
    ours = await contexts.path(into.tenant, into.id)
    theirs = await contexts.path(other.tenant, other.id)
    changes, conflicts = merge_chains(ours, theirs)
    unsettled = tuple(conflict for conflict in conflicts if conflict.key not in new.data)
    if unsettled:
        raise MergeConflict(
            "Both chains changed the same keys. "
            + " ".join(map(choice_sentence, unsettled[:MOST_CONFLICTS])),
            unsettled,
        )
    return replace(
        new,
        data={**changes, **new.data},
        summary=merge_note(new.summary, other, conflicts, new.data),
        merged_id=other.id,
        expected_revision=into.revision if new.expected_revision is None else new.expected_revision,
    )
