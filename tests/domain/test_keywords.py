"""What a text is found by."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.domain.keywords import WORD_LIMIT, bm25, rarity, texts_in, tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Breaker is OPEN", ["the", "breaker", "is", "open"]),
        ("snake_case", ["snake_case", "snak", "cas"]),
        ("camelCase", ["camelcase", "camel", "cas"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("src/app.py", ["src/app.py", "src", "app", "py"]),
        ("… — ?", []),
        ("Größe", ["größ".casefold()]),
    ],
)
def test_words_are_folded_and_names_give_their_parts(text: str, words: list[str]) -> None:
    """A name is found whole and by each of its parts."""
    assert words == tokens(text)


@pytest.mark.parametrize(
    "family",
    [
        "cache caches cached caching",
        "retry retries retried",
        "run runs running",
        "need needs",
        "use uses",
        "class",
        "status",
    ],
)
def test_forms_of_a_word_are_one(family: str) -> None:
    """By their commonest endings."""
    assert 1 == len(set(tokens(family)))


@pytest.mark.parametrize(("one", "other"), [("red", "r"), ("bus", "bu"), ("ring", "r")])
def test_a_word_is_not_cut_to_nothing(one: str, other: str) -> None:
    """Short words stay as they are."""
    assert tokens(one) != tokens(other)


@given(st.text(max_size=200))
def test_any_text_has_words_of_bounded_length(text: str) -> None:
    """And says the same in any case."""
    words = tokens(text)
    assert all(0 < len(word) <= WORD_LIMIT for word in words)


@given(st.recursive(st.text(), lambda part: st.lists(part) | st.tuples(st.text(), part)))
def test_all_that_can_be_read_in_a_value_is_found(value: Any) -> None:
    """Keys and texts however deep, in order; here a pair stands for an object of one key."""

    def as_json(part: Any) -> Any:
        match part:
            case str():
                return part
            case (str(key), inner) if isinstance(part, tuple):
                return {key: as_json(inner)}
            case _:
                return [as_json(inner) for inner in part]

    def texts(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else [text for p in part for text in texts(p)]

    assert texts(value) == list(texts_in(as_json(value)))


def test_numbers_can_be_read_and_nothing_cannot() -> None:
    """A port is found by its number."""
    assert ["a", "5432", "b", "0.5", "True"] == list(texts_in({"a": 5432, "b": [0.5, None, True]}))


@given(documents=st.integers(1, 10**6), holding=st.integers(1, 10**6))
def test_the_rarer_a_word_the_more_it_tells(documents: int, holding: int) -> None:
    """And always something."""
    holding = min(documents, holding)
    assert rarity(documents, holding) > 0
    assert holding == 1 or rarity(documents, holding - 1) > rarity(documents, holding)


@given(count=st.integers(1, 1000), length=st.integers(1, 4000), average=st.floats(1, 4000))
def test_more_of_a_word_weighs_more_in_a_shorter_text(
    count: int, length: int, average: float
) -> None:
    """But never more than a little over twice its rarity."""
    score = bm25(count, length, average, 1.0)
    assert 0 < score < 2.2
    assert bm25(count + 1, length, average, 1.0) > score > bm25(count, length + 1, average, 1.0)
    assert math.isclose(3 * score, bm25(count, length, average, 3.0))
