"""The rate limit: the generic cell rate algorithm (GCRA), exact and with one number to remember.

A key's `due` is when its allowance would be whole again. A call takes one interval of it; it waits
if more than `burst` intervals would be taken at once. Times are whole microseconds, so that the
same sum in Lua gives the same answer.
"""

from typing import Final

SECOND: Final = 1_000_000
"""Microseconds."""


def interval_of(rate_per_s: float) -> int:
    """The time between two calls of a steady rate; at least a microsecond."""
    return max(1, round(SECOND / rate_per_s))


def take(due: int, now: int, interval: int, burst: int) -> tuple[int, int]:
    """Ask for one call.

    A `due` further ahead than a whole burst can only come from a clock that was set back; it is
    taken for a whole burst.

    Returns:
        The new `due`, and how long to wait before asking again; 0 is granted.
    """
    start = min(max(due, now), now + burst * interval)
    wait = start - now - (burst - 1) * interval
    return (start, wait) if wait > 0 else (start + interval, 0)
