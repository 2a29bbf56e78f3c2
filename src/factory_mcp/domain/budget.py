"""The retry budget: retries are at most a tenth of the calls, so that they never multiply load.

After Finagle's RetryBudget: each call deposits a tenth of a retry, deposits and withdrawals are
forgotten after ten seconds. A quiet server may still retry once a second; that minimum is an
alternative to the tenth and not on top of it, so that a busy server stays at 1.10 times its
load. Times are seconds on the monotonic clock, kept to the second.
"""

from dataclasses import dataclass, replace
from typing import Final

PERCENT: Final = 10
MIN_PER_S: Final = 1
TTL_S: Final = 10

Counts = tuple[tuple[int, int], ...]
"""(second, how many in it), oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The calls and the retries of the last `TTL_S` seconds."""

    calls: Counts = ()
    retries: Counts = ()


def deposited(budget: Budget, now: float) -> Budget:
    """A call was made."""
    return replace(budget, calls=_add(budget.calls, now))


def may_retry(budget: Budget, now: float) -> bool:
    """Whether one more retry is within the budget."""
    allowed = max(_total(budget.calls, now) * PERCENT // 100, MIN_PER_S * TTL_S)
    return _total(budget.retries, now) < allowed


def withdrawn(budget: Budget, now: float) -> Budget:
    """A retry was made; ask `may_retry` first."""
    return replace(budget, retries=_add(budget.retries, now))


def _add(counts: Counts, now: float) -> Counts:
    second = int(now)
    kept = _kept(counts, now)
    if kept and kept[-1][0] == second:
        return (*kept[:-1], (second, kept[-1][1] + 1))
    return (*kept, (second, 1))


def _total(counts: Counts, now: float) -> int:
    return sum(count for _, count in _kept(counts, now))


def _kept(counts: Counts, now: float) -> Counts:
    return tuple(entry for entry in counts if entry[0] > int(now) - TTL_S)
