"""What was used last stays."""

import pytest

from factory_mcp.domain.lru import Lru


@pytest.mark.requirement("REDIS-11")
def test_what_was_unused_the_longest_goes_first() -> None:
    """A look is a use."""
    lru: Lru[str, int] = Lru(entries=2, size=100)
    lru.put("a", 1)
    lru.put("b", 2)
    assert 1 == lru.get("a")
    lru.put("c", 3)
    assert [1, None, 3] == [lru.get(key) for key in "abc"]


@pytest.mark.requirement("REDIS-11")
def test_all_together_are_no_larger_than_allowed() -> None:
    """What is larger by itself is not kept, and pushes nothing out but its own old value."""
    lru: Lru[str, int] = Lru(entries=10, size=10)
    lru.put("a", 1, 4)
    lru.put("b", 2, 4)
    lru.put("a", 3, 6)
    assert (10, 2) == (lru.size, len(lru))
    lru.put("c", 4, 1)
    assert [3, None, 4] == [lru.get(key) for key in "abc"]
    lru.put("c", 5, 11)
    assert (6, [3, None, None]) == (lru.size, [lru.get(key) for key in "abc"])
    lru.drop("a")
    lru.drop("a")
    assert (0, 0) == (lru.size, len(lru))
    lru.put("a", 1, 4)
    lru.clear()
    assert (0, None) == (lru.size, lru.get("a"))
