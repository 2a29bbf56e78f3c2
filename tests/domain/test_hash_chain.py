"""A chain of hashes: whatever is done to its rows shows."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.domain.hash_chain import GENESIS, canonical, link, verify

Rows = list[dict[str, Any]]

contents = st.lists(
    st.fixed_dictionaries({"at": st.floats(allow_nan=False), "what": st.text()}),
    min_size=2,
    max_size=6,
    unique_by=canonical,
)


def chained(contents: list[dict[str, Any]]) -> Rows:
    """The rows as they are stored."""
    rows: Rows = []
    for content in contents:
        prev = rows[-1]["hash"] if rows else GENESIS
        rows.append({**content, "prev": prev, "hash": link(prev, content)})
    return rows


def changed(rows: Rows) -> Rows:
    return [{**rows[0], "what": rows[0]["what"] + "!"}, *rows[1:]]


def moved(rows: Rows) -> Rows:
    return [rows[1], rows[0], *rows[2:]]


def left_out(rows: Rows) -> Rows:
    return rows[1:]


def added(rows: Rows) -> Rows:
    return [rows[0], *rows]


def forged(rows: Rows) -> Rows:
    """The first row, changed and given the hash that fits the change."""
    row = {"at": 0.5, "what": "forged" + rows[0]["what"]}
    return [{**row, "prev": GENESIS, "hash": link(GENESIS, row)}, *rows[1:]]


@pytest.mark.requirement("STORE-9")
@given(contents=contents)
def test_a_chain_verifies_from_any_row_on(contents: list[dict[str, Any]]) -> None:
    """With the hash of the row before it."""
    rows = chained(contents)
    assert None is verify(rows)
    assert None is verify(rows[1:], rows[0]["hash"])
    assert None is verify([])


@pytest.mark.requirement("STORE-9")
@pytest.mark.parametrize(
    ("tamper", "found"), [(changed, 0), (moved, 0), (left_out, 0), (added, 1), (forged, 1)]
)
@given(contents=contents)
def test_the_first_row_that_is_not_as_it_was_is_found(
    contents: list[dict[str, Any]], tamper: Callable[[Rows], Rows], found: int
) -> None:
    """By its place."""
    assert found == verify(tamper(chained(contents)))


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    """A database may give them back in any; characters beyond ASCII are escaped."""
    assert link(GENESIS, {"a": 1, "b": "ü"}) == link(GENESIS, {"b": "ü", "a": 1})
    assert r'{"a":"\u00fc\ud800"}' == canonical({"a": "ü\ud800"})
