"""Folding chains and merging them: nothing is lost in silence, whoever merges into whom."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.domain.merge import apply, merge_chains, merged_view, three_way
from factory_mcp.domain.model import ContextNode, Json

values = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "b"]) | st.just([1])
changes = st.dictionaries(st.sampled_from("pqrs"), values, max_size=4)
views = changes.map(lambda made: apply({}, made))


def node(name: str, data: Json, droid: str | None = None) -> ContextNode:
    """A node that says this."""
    return ContextNode(
        id=name,
        tenant="acme",
        chain_id="root",
        parent_id=None,
        revision=1,
        droid=droid,
        run_id=f"run of {name}",
        summary="",
        data=data,
        workspace_key=None,
        created_at=7.0,
    )


@given(steps=st.lists(changes, max_size=5))
def test_the_nearest_to_the_head_wins(steps: list[Json]) -> None:
    """And a None removes its key, until somebody writes it again."""
    view = merged_view(node(str(number), data) for number, data in enumerate(steps))
    for key in "pqrs":
        said = [data[key] for data in steps if key in data]
        assert (said[-1] if said else None) == view.get(key)
    assert None not in view.values()


@pytest.mark.requirement("STORE-11")
@given(base=views, ours=views, theirs=views)
def test_a_merge_holds_all_that_only_one_side_changed(base: Json, ours: Json, theirs: Json) -> None:
    """Keys that both changed differently are named, and stay as they were with us."""
    made, conflicts = three_way(base, ours, theirs)
    merged = apply(ours, made)
    for key in "pqrs":
        before, mine, other = (repr(view.get(key)) for view in (base, ours, theirs))
        assert (key in conflicts) == (mine != before != other != mine)
        expected = other if mine == before else mine
        assert expected == repr(merged.get(key))


@pytest.mark.requirement("STORE-11")
@given(base=views, ours=views, theirs=views)
def test_a_merge_finds_the_same_conflicts_from_either_side(
    base: Json, ours: Json, theirs: Json
) -> None:
    """And what was merged once has nothing new to say."""
    made, conflicts = three_way(base, ours, theirs)
    _, other_way = three_way(base, theirs, ours)
    assert set(conflicts) == set(other_way)
    again, _ = three_way(theirs, apply(ours, made), theirs)
    assert {} == again


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(True, 1, False), (1, 1.0, False), (float("nan"), float("nan"), True), ([1], [1], True)],
)
def test_values_are_compared_as_json(one: Any, other: Any, *, same: bool) -> None:
    """To Python `True` equals `1`, and NaN does not equal itself."""
    assert (() if same else ("p",)) == three_way({}, {"p": one}, {"p": other})[1]


@pytest.mark.requirement("STORE-11")
def test_a_conflict_says_who_wrote_what_on_both_sides() -> None:
    """Chains share what they begin with; a removed key has an author too."""
    root = node("root", {"p": 1, "q": 1})
    ours = [root, node("a", {"p": 2, "q": None, "s": 3}, "code")]
    theirs = [root, node("b", {"p": 3, "q": 5, "r": 4})]
    made, conflicts = merge_chains(ours, theirs)
    assert {"r": 4} == made
    sides = [(c.key, c.base, c.ours["value"], c.theirs["value"]) for c in conflicts]
    assert [("p", 1, 2, 3), ("q", 1, None, 5)] == sides
    expected = {"value": 2, "droid": "code", "run_id": "run of a", "at": 7.0}
    assert expected == conflicts[0].ours
    assert ("run of b", None) == (conflicts[0].theirs["run_id"], conflicts[0].theirs["droid"])


def test_chains_that_share_nothing_begin_with_nothing() -> None:
    """Every key of theirs is new."""
    made, conflicts = merge_chains([node("a", {"p": 1})], [node("b", {"p": 1, "q": 2})])
    assert ({"q": 2}, ()) == (made, conflicts)
