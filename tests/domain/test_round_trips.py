"""What holds for every envelope, text and moment, as far as Hypothesis looks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.domain.envelope import KEYS, from_json, to_json
from factory_mcp.domain.ids import ENTROPY, new_id
from factory_mcp.domain.model import Attempt, Conflict, Envelope, Handoff, Usage
from factory_mcp.domain.paging import fitting, wire_length

WORDS = st.text(max_size=20)
LISTS = st.lists(WORDS, max_size=3).map(tuple)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=3)
MAYBE = st.none() | WORDS
ENVELOPES = st.builds(
    Envelope,
    run_id=MAYBE,
    backend=MAYBE,
    changed_paths=LISTS,
    partial=LISTS,
    warnings=LISTS,
    attempts=st.lists(st.builds(Attempt), max_size=2).map(tuple),
    usage=st.none() | st.builds(Usage, credits=NUMBERS),
    ms=st.none() | OBJECTS,
    retry_after_s=st.none() | NUMBERS,
    next=st.none() | OBJECTS,
    handoff=st.none() | st.builds(Handoff, steps=LISTS, context_uris=LISTS),
    needs_input=st.none() | OBJECTS,
    data=st.none() | OBJECTS,
    conflicts=st.lists(
        st.builds(Conflict, base=VALUES, ours=OBJECTS, theirs=OBJECTS), max_size=2
    ).map(tuple),
)


@pytest.mark.requirement("CALLS-25")
@given(ENVELOPES)
def test_an_envelope_is_the_same_after_json(envelope: Envelope) -> None:
    """Keys in their order, text first, and none that says nothing."""
    written = to_json(envelope)
    assert envelope == from_json(json.loads(json.dumps(written)))
    assert "text" == next(iter(written))
    assert list(written) == sorted(written, key=KEYS.index)
    assert all(value not in (None, []) for value in written.values())


@given(text=WORDS, key=st.text(max_size=5).filter(lambda key: key not in KEYS))
def test_a_key_of_a_later_version_is_passed_over(text: str, key: str) -> None:
    """A store that a newer version has written to stays readable."""
    written = {"text": text, "status": "done", key: 1}
    assert text == from_json(written).text


@given(text=st.text(max_size=200), room=st.integers(1, 60))
def test_pages_fit_end_and_make_up_the_whole(text: str, room: int) -> None:
    """A page holds at least one character, however long that is on the wire."""
    pages, start = list[str](), 0
    while start < len(text):
        end = fitting(text, room, start)
        pages.append(text[start:end])
        start = end
    assert text == "".join(pages)
    assert all(wire_length(page) <= room or len(page) == 1 for page in pages)


@given(
    at=st.lists(st.integers(0, 2**47), min_size=2, max_size=2, unique=True),
    chance=st.lists(st.binary(min_size=ENTROPY, max_size=ENTROPY), min_size=2, max_size=2),
)
def test_identifiers_sort_as_their_moments_do(at: list[int], chance: list[bytes]) -> None:
    """Whatever the chance in them."""
    ids = [new_id("run", moment / 1000, token) for moment, token in zip(at, chance, strict=True)]
    assert (at[0] < at[1]) == (ids[0] < ids[1])
