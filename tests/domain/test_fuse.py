"""The score that joins meaning and keywords, and the words of a query that tell something."""

from itertools import pairwise

import pytest

from factory_mcp.domain.fuse import NEAR, fused
from factory_mcp.domain.keywords import telling, tokens


@pytest.mark.requirement("VECTOR-5")
def test_keywords_add_a_little_and_never_more() -> None:
    """The more the better, below a tenth; nothing where there are none."""
    scores = [fused(NEAR, keywords) for keywords in (0, 1, 6, 60, 6e9)]
    assert NEAR == scores[0]
    assert all(less < more for less, more in pairwise(scores))
    assert scores[2] == pytest.approx(NEAR + 0.05)
    assert scores[-1] <= NEAR + 0.1


@pytest.mark.requirement("VECTOR-5")
@pytest.mark.parametrize(
    ("query", "left"),
    [("Where does the Parser live?", ["parser", "liv"]), ("what is it", ["what", "is", "it"])],
)
def test_words_that_are_in_every_text_do_not_count(query: str, left: list[str]) -> None:
    """Unless the query has no others."""
    assert left == telling(tokens(query))
