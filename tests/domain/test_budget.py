"""The retry budget: a tenth of the calls, and one a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.domain.budget import TTL_S, Budget, deposited, may_retry, withdrawn


def spend(budget: Budget, now: float) -> tuple[Budget, int]:
    """Retry until the budget says no."""
    count = 0
    while may_retry(budget, now):
        budget, count = withdrawn(budget, now), count + 1
    return budget, count


@pytest.mark.requirement("CHAIN-3")
@pytest.mark.parametrize("calls", [100, 999, 1000, 10_000])
def test_retries_are_at_most_a_tenth_of_the_calls(calls: int) -> None:
    """Finagle's own test: so many calls at one instant, all of them failing."""
    budget, retries = Budget(), 0
    for _ in range(calls):
        budget = deposited(budget, 1000)
        if may_retry(budget, 1000):
            budget, retries = withdrawn(budget, 1000), retries + 1
    assert max(10, calls // 10) == retries


@pytest.mark.requirement("CHAIN-3")
def test_a_quiet_server_may_retry_once_a_second() -> None:
    """Ten retries in ten seconds without any traffic, then no more until they are forgotten."""
    budget, first = spend(Budget(), 1000)
    _, soon = spend(budget, 1009.9)
    _, later = spend(budget, 1010)
    assert (10, 0, 10) == (first, soon, later)


@pytest.mark.requirement("CHAIN-3")
def test_deposits_expire() -> None:
    """A rush of calls does not pay for retries ten seconds later."""
    budget = Budget()
    for _ in range(1000):
        budget = deposited(budget, 1000)
    assert (100, 10) == (spend(budget, 1009)[1], spend(budget, 1010)[1])


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=200))
@pytest.mark.requirement("CHAIN-3")
def test_in_any_ten_seconds_retries_keep_to_the_budget(steps: list[tuple[float, bool]]) -> None:
    """Whatever the order of calls and retries; its memory stays within the ten seconds."""
    budget, now, calls, retries = Budget(), 0.0, list[int](), list[int]()
    for pause, is_call in steps:
        now += pause
        if is_call:
            budget = deposited(budget, now)
            calls.append(int(now))
        elif may_retry(budget, now):
            budget = withdrawn(budget, now)
            retries.append(int(now))
            since = int(now) - TTL_S
            allowed = max(TTL_S, sum(at > since for at in calls) // 10)
            assert sum(at > since for at in retries) <= allowed
        assert len(budget.calls) <= TTL_S
        assert len(budget.retries) <= TTL_S
