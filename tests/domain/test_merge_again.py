"""Chains that have been merged before: what was settled stays so, from either side."""

from typing import Any

import pytest

from factory_mcp.domain.merge import merge_chains
from factory_mcp.domain.model import ContextNode, Json


def chain(*steps: tuple[str, Json, str | None]) -> list[ContextNode]:
    """A chain of (id, data, id of the node that is merged)."""
    return [
        ContextNode(
            id=name,
            tenant="acme",
            chain_id=steps[0][0],
            parent_id=None,
            revision=number,
            droid=None,
            run_id=None,
            summary="",
            data=data,
            workspace_key=None,
            created_at=0,
            merged_id=merged,
        )
        for number, (name, data, merged) in enumerate(steps, 1)
    ]


O1, T1 = ("o1", {"k": 1, "o": 1}, None), ("t1", {"k": 2, "t": 1}, None)
TOOK: tuple[str, Json, str] = ("o2", {"k": 3, "t": 1}, "t1")  # ours, having settled k
CASES: dict[str, tuple[list[Any], list[Any], Json, list[str]]] = {
    "nothing new": ([O1, TOOK], [T1], {}, []),
    "what we took and removed stays removed": ([O1, TOOK, ("o3", {"t": None}, None)], [T1], {}, []),
    "they changed since": ([O1, TOOK], [T1, ("t2", {"t": 2}, None)], {"t": 2}, []),
    "both changed since": ([O1, TOOK], [T1, ("t2", {"k": 4}, None)], {}, ["k"]),
    "they took ours, which had taken theirs": (
        [O1, TOOK],
        [T1, ("t2", {"k": 3, "o": 1}, "o2"), ("t3", {"k": 5}, None)],
        {"k": 5},
        [],
    ),
    "we took theirs, which had taken ours": (
        [O1, ("o2", {"k": 3, "t": 1}, "t2"), ("o3", {"k": 6}, None)],
        [T1, ("t2", {"k": 3, "o": 1}, "o1")],
        {},
        [],
    ),
    "both took the other's at once, k settled in two ways": (
        [O1, ("o2", {"k": 1, "t": 1}, "t1")],
        [T1, ("t2", {"k": 2, "o": 1}, "o1"), ("t3", {"new": 1}, None)],
        {"new": 1},
        ["k"],
    ),
}


@pytest.mark.requirement("CONTEXT-2")
@pytest.mark.parametrize(("ours", "theirs", "changes", "conflicts"), CASES.values(), ids=CASES)
def test_a_merge_starts_from_the_last_merge(
    ours: list[Any], theirs: list[Any], changes: Json, conflicts: list[str]
) -> None:
    """Only what was changed since is brought over or in conflict."""
    made, found = merge_chains(chain(*ours), chain(*theirs))
    assert (changes, conflicts) == (made, [conflict.key for conflict in found])
