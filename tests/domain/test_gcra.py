"""The rate limit: what it grants, whatever the traffic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.domain.gcra import SECOND, interval_of, take


@pytest.mark.requirement("REDIS-2")
@given(
    gaps=st.lists(st.integers(0, 3 * SECOND), max_size=60),
    interval=st.integers(1, SECOND),
    burst=st.integers(1, 10),
)
def test_never_more_than_the_burst_and_the_rate(gaps: list[int], interval: int, burst: int) -> None:
    """In any span of time; and whoever waits as long as he was told is granted."""
    due, now, granted = 0, 10**15, list[int]()
    for gap in gaps:
        now += gap
        due, wait = take(due, now, interval, burst)
        assert 0 <= wait <= interval
        if wait == 0:
            granted.append(now)
        else:
            assert (due, 0) != take(due, now + wait - 1, interval, burst)
            assert 0 == take(due, now + wait, interval, burst)[1]
    for first, since in enumerate(granted):
        for number, at in enumerate(granted[first:], 1):
            assert number <= burst + (at - since) // interval


@pytest.mark.requirement("REDIS-2")
def test_a_clock_that_was_set_back_costs_one_interval() -> None:
    """Not the hour by which it was wrong."""
    assert (5 * SECOND, SECOND) == take(3600 * SECOND, 2 * SECOND, SECOND, 3)


@pytest.mark.requirement("REDIS-2")
def test_a_rate_is_an_interval_of_whole_microseconds() -> None:
    """At least one."""
    assert [20_000, SECOND, 60 * SECOND, 1] == [
        interval_of(rate) for rate in (50, 1, 1 / 60, 10**9)
    ]
